"""Searches for the mix of types with the least KL divergence within a budget of bytes and of judgings.

1. Probe: from a start in which every group has its largest quantized type, one group at a time gets a small one. What
   the divergence grows by is what this group's errors cost. The importance matrix says which groups come first, and
   what those cost that there are no judgings for (`job.fit.importance`).
2. Choose: a knapsack over those costs. A type's cost follows from the probed one's by how large its errors are.
3. Repair: the exchange that could help most, if what is not measured yet were DOUBT better than it is thought to be, is
   measured next. It corrects the costs of what it changed, and is kept if it is better.

Nothing is drawn at random, so the same measurements give the same mix.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from job.artifacts import Frozen
from job.fit.groups import Group
from job.fit.knapsack import choose

Mix = dict[str, str]
"""The type of each group."""

ERRORS = {
    "iq2_xxs": 1.0, "iq2_s": 0.62, "q2_k": 0.7, "iq3_xxs": 0.31, "q3_k": 0.22, "iq3_s": 0.2, "iq4_xs": 0.06,
    "iq4_nl": 0.056, "q4_0": 0.08, "q4_k": 0.05, "q4_1": 0.055, "q5_0": 0.018, "q5_k": 0.0135, "q5_1": 0.0145,
    "q6_k": 0.0035, "q8_0": 0.00022, "f16": 0.0, "bf16": 0.0, "f32": 0.0,
}  # fmt: skip
"""The squared error of a type, relative to that of iq2_xxs (bench/fit.py measures them)."""
DOUBT = 0.3
"""By what share a cost may be wrong that follows from another type's."""
NEGLIGIBLE = 1e-6
"""Nats per token: less is rounding in llama-perplexity's output."""


class Point(Frozen):
    """A measured mix: `size` in bytes of the file, `kld` in nats per token, with its standard error."""

    mix: Mix
    size: int
    kld: float
    error: float = 0.0


class Found(Frozen):
    """`best`: the mix with the least divergence within the budget; `points`: all, in the order of measuring."""

    best: Point
    points: list[Point]


def search(
    groups: Sequence[Group],
    budget: int,
    measure: Callable[[Mix], Point],
    judgings: int,
    fixed: int = 0,
    weights: Mapping[str, float] = {},
) -> Found:
    """`budget`: of the groups' bytes and `fixed`, what is in the file besides. `measure` is called at most `judgings`
    times. `weights`: how much each group likely matters, by its name, of those of which it is known. The smallest mix
    has to fit."""
    return _Search(groups, budget - fixed, measure, judgings, weights).run()


class _Search:
    def __init__(
        self,
        groups: Sequence[Group],
        budget: int,
        measure: Callable[[Mix], Point],
        judgings: int,
        weights: Mapping[str, float],
    ) -> None:
        self._groups, self._budget, self._measure, self._left = groups, budget, measure, judgings
        self._weights = weights
        self._sizes = [[group.size(kind) for kind in group.types] for group in groups]
        self._points: list[Point] = []
        self._costs: list[list[float]] = []
        self._sure: set[tuple[int, int]] = set()

    def run(self) -> Found:
        self._costs = self._probed()
        chosen = choose(self._sizes, self._costs, self._budget)
        assert chosen is not None
        best = self._try(chosen)
        self._correct(chosen, best.kld, None)
        while self._left:
            proposed = self._next(chosen)
            if proposed is None:
                break
            point = self._try(proposed)
            self._correct(proposed, point.kld, (chosen, best.kld))
            if point.kld < best.kld:
                chosen, best = proposed, point
        return Found(best=best, points=self._points)

    def _try(self, chosen: Sequence[int]) -> Point:
        self._left -= 1
        point = self._measure(self._mix(chosen))
        self._points.append(point)
        return point

    def _mix(self, chosen: Sequence[int]) -> Mix:
        return {group.name: group.types[at] for group, at in zip(self._groups, chosen, strict=True)}

    def _probed(self) -> list[list[float]]:
        """The cost of each type of each group."""
        start = [_start(group) for group in self._groups]
        base = self._try(start).kld
        bits = 8 * self._budget / sum(group.elements for group in self._groups)
        unit: dict[int, float] = {}
        for at in self._order()[: max(1, self._left - max(2, self._left // 3))]:
            group = self._groups[at]
            small = _small(group, bits)
            changed = [small if number == at else index for number, index in enumerate(start)]
            grown = max(self._try(changed).kld - base, NEGLIGIBLE)
            unit[at] = grown / (ERRORS[group.types[small]] - ERRORS[group.types[start[at]]])
        return [[self._unit(at, unit) * ERRORS[kind] for kind in group.types] for at, group in enumerate(self._groups)]

    def _order(self) -> list[int]:
        """The groups in the order in which they are probed: those of which nothing is known, then the weightiest; of
        two alike the larger."""

        def last(at: int) -> tuple[float, int, int]:
            group = self._groups[at]
            return -self._weights.get(group.name, float("inf")), -group.elements, at

        return sorted(range(len(self._groups)), key=last)

    def _unit(self, at: int, probed: Mapping[int, float]) -> float:
        """The cost of an error of one. Groups that there were no judgings for cost as those of their kind do, or as all
        do, in proportion to their weights, or their sizes."""
        if at in probed:
            return probed[at]
        kind = self._groups[at].name.split()[0]
        alike = [one for one in probed if self._groups[one].name.split()[0] == kind]
        alike = alike or [one for one in probed if self._groups[one].name in self._weights] or list(probed)
        names = {one: self._groups[one].name for one in (at, *alike)}
        if all(name in self._weights for name in names.values()):
            share = {one: self._weights[name] for one, name in names.items()}
        else:
            share = {one: float(self._groups[one].elements) for one in names}
        return share[at] * sum(probed[one] for one in alike) / (sum(share[one] for one in alike) or 1.0)

    def _predicted(self, chosen: Sequence[int]) -> float:
        return sum(costs[at] for costs, at in zip(self._costs, chosen, strict=True))

    def _correct(self, chosen: Sequence[int], kld: float, before: tuple[Sequence[int], float] | None) -> None:
        """Scales the costs so that they add up to what was measured: all of them, or of an exchange those that it
        changed."""
        if before is None:
            scale = max(kld, NEGLIGIBLE) / max(self._predicted(chosen), NEGLIGIBLE)
            self._costs = [[cost * scale for cost in costs] for costs in self._costs]
            return
        old, known = before
        changed = [at for at, (now, then) in enumerate(zip(chosen, old, strict=True)) if now != then]
        surplus = kld - known - sum(self._costs[at][chosen[at]] - self._costs[at][old[at]] for at in changed)
        weight = sum(self._costs[at][chosen[at]] + self._costs[at][old[at]] for at in changed) or 1.0
        for at in changed:
            share = surplus * (self._costs[at][chosen[at]] + self._costs[at][old[at]]) / weight
            self._costs[at][chosen[at]] = max(self._costs[at][chosen[at]] + share, 0.0)
            self._sure |= {(at, chosen[at]), (at, old[at])}

    def _next(self, chosen: Sequence[int]) -> list[int] | None:
        """The mix that could be best of those that are not measured; None if none could be better."""
        known = {tuple(sorted(point.mix.items())) for point in self._points}
        proposals = sorted(self._exchanges(list(chosen)))
        for gain, proposal in proposals:
            if gain < -NEGLIGIBLE and tuple(sorted(self._mix(proposal).items())) not in known:
                return list(proposal)
        return None

    def _exchanges(self, chosen: list[int]) -> Iterator[tuple[float, tuple[int, ...]]]:
        """What the divergence could change by, and the mix: each change or pair of changes that fits, and the
        knapsack's own choice."""
        left = self._budget - sum(one[at] for one, at in zip(self._sizes, chosen, strict=True))
        moves = [
            (self._gain(at, now, to), self._sizes[at][to] - self._sizes[at][now], at, to)
            for at, now in enumerate(chosen)
            for to in range(len(self._sizes[at]))
            if to != now
        ]
        for gain, size, at, to in moves:
            if size <= left and gain < 0:
                yield gain, _with(chosen, (at, to))
            if size >= 0:
                continue
            for other_gain, other_size, other, other_to in moves:
                if other != at and other_gain + gain < 0 and other_size + size <= left:
                    yield other_gain + gain, _with(chosen, (at, to), (other, other_to))
        again = choose(self._sizes, self._costs, self._budget)
        assert again is not None
        yield sum(self._gain(at, now, to) for at, (now, to) in enumerate(zip(chosen, again, strict=True))), tuple(again)

    def _gain(self, at: int, now: int, to: int) -> float:
        """What the divergence could change by if this group got another type."""
        if now == to:
            return 0.0
        old, new = self._costs[at][now], self._costs[at][to]
        return new * (1 - DOUBT * ((at, to) not in self._sure)) - old * (1 + DOUBT * ((at, now) not in self._sure))


def _with(chosen: Sequence[int], *changes: tuple[int, int]) -> tuple[int, ...]:
    found = list(chosen)
    for at, to in changes:
        found[at] = to
    return tuple(found)


def _start(group: Group) -> int:
    """The largest quantized type."""
    return max(len(group.types) - 2, 0)


def _small(group: Group, bits: float) -> int:
    """The largest type of at most so many bits a weight, below the start."""
    fitting = [at for at, kind in enumerate(group.types) if 8 * group.size(kind) / group.elements <= bits]
    return min(max(fitting, default=0), max(_start(group) - 1, 0))
