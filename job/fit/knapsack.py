"""Chooses one of several sizes for each group so that the sum of costs is least within a budget (a multiple-choice
knapsack)."""

from collections.abc import Sequence

CELLS = 1000
"""The budget is divided into so many cells, and sizes are rounded up to them."""


def choose(sizes: Sequence[Sequence[int]], costs: Sequence[Sequence[float]], budget: int) -> list[int] | None:
    """The index of each group's choice; None if not even the smallest sizes fit.

    Exact but for the rounding: what was lost to it is given back by exchanging single choices while one helps.
    """
    smallest = [min(range(len(one)), key=one.__getitem__) for one in sizes]
    room = budget - sum(one[at] for one, at in zip(sizes, smallest, strict=True))
    if room < 0:
        return None
    cell = max(1, -(-room // CELLS))
    extra = [[-(-(size - one[at]) // cell) for size in one] for one, at in zip(sizes, smallest, strict=True)]
    chosen = _best(extra, costs, room // cell)
    return _filled(sizes, costs, chosen, budget)


def _best(extra: Sequence[Sequence[int]], costs: Sequence[Sequence[float]], cells: int) -> list[int]:
    """Dynamic programming over what is used of the room beyond the smallest sizes."""
    infinite = float("inf")
    best = [0.0] * (cells + 1)
    steps: list[list[int]] = []
    for more, cost in zip(extra, costs, strict=True):
        now, step = [infinite] * (cells + 1), [0] * (cells + 1)
        for index, (size, value) in enumerate(zip(more, cost, strict=True)):
            for used in range(size, cells + 1):
                if (total := best[used - size] + value) < now[used]:
                    now[used], step[used] = total, index
        best = now
        steps.append(step)
    chosen, used = [], cells
    for more, step in zip(reversed(extra), reversed(steps), strict=True):
        chosen.append(step[used])
        used -= more[step[used]]
    return chosen[::-1]


def _filled(
    sizes: Sequence[Sequence[int]], costs: Sequence[Sequence[float]], chosen: list[int], budget: int
) -> list[int]:
    chosen = list(chosen)
    while True:
        left = budget - sum(one[at] for one, at in zip(sizes, chosen, strict=True))
        better = [
            (costs[group][index] - costs[group][at], group, index)
            for group, at in enumerate(chosen)
            for index in range(len(sizes[group]))
            if sizes[group][index] - sizes[group][at] <= left and costs[group][index] < costs[group][at]
        ]
        if not better:
            return chosen
        _, group, index = min(better)
        chosen[group] = index
