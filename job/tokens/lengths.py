"""How long the rows are, and what became of those that are too long or teach nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping

from job.artifacts import Frozen
from job.errors import DataInvalid
from job.spec import JobSpec
from job.tokens.encoder import Encoded

_NAMED = 3
_SHARES = (0.5, 0.95, 0.99, 1.0)


class Lengths(Frozen):
    """Lengths of rows in tokens, before any cut: percentiles, and `bins`: the largest length of each and its rows."""

    p50: int
    p95: int
    p99: int
    longest: int
    bins: list[tuple[int, int]]


class Counts(Frozen):
    """The rows of one part of the data. `too_long`: rows of more than training.max_length tokens, of which `dropped`
    are left out and the others are cut; `unlearned`: rows left out because no token of them has a loss."""

    rows: int
    too_long: int
    dropped: int
    unlearned: int
    lengths: Lengths | None


class LengthTally:
    """Counts the rows of one part of the data. `refused`: those that `dataset.too_long: fail` does not take, with
    their tokens."""

    def __init__(self) -> None:
        self.lengths: Counter[int] = Counter()
        self.too_long = self.dropped = self.unlearned = 0
        self.refused: list[tuple[str, int]] = []

    def takes(self, source: str, row: Encoded, too_long: str) -> bool:
        """Whether a row is used. `too_long`: what is done with it if it is."""
        self.lengths[row.length] += 1
        if row.length > len(row.ids):
            self.too_long += 1
            if too_long == "fail":
                self.refused.append((source, row.length))
            if too_long == "drop":
                self.dropped += 1
                return False
        self.unlearned += not row.teaches
        return row.teaches

    def counts(self) -> Counts:
        return Counts(
            rows=self.lengths.total(),
            too_long=self.too_long,
            dropped=self.dropped,
            unlearned=self.unlearned,
            lengths=lengths_of(self.lengths),
        )


def check_lengths(spec: JobSpec, parts: Iterable[LengthTally]) -> None:
    """Raises DataInvalid for rows that `dataset.too_long: fail` does not take."""
    refused = [one for part in parts for one in part.refused]
    if not refused or not spec.training:
        return
    named = ", ".join(f"{source} ({tokens:,} tokens)" for source, tokens in refused[:_NAMED])
    raise DataInvalid(
        f"{len(refused):,} rows have more tokens than training.max_length, {spec.training.max_length:,}: {named}",
        hint=f"Set training.max_length: {max(tokens for _, tokens in refused)}, shorten the rows, or set "
        "dataset.too_long to cut or drop.",
    )


def lengths_of(rows: Mapping[int, int]) -> Lengths | None:
    """`rows`: how many there are of each length. None without any."""
    if not rows:
        return None
    total, seen, percentiles = sum(rows.values()), 0, list[int]()
    bins: Counter[int] = Counter()
    for length in sorted(rows):
        seen += rows[length]
        while len(percentiles) < len(_SHARES) and seen >= _SHARES[len(percentiles)] * total:
            percentiles.append(length)
        bins[_bin(length)] += rows[length]
    p50, p95, p99, longest = percentiles
    ends = [min(bins)]
    while ends[-1] < max(bins):
        ends.append(_bin(ends[-1] + 1))
    return Lengths(p50=p50, p95=p95, p99=p99, longest=longest, bins=[(end, bins[end]) for end in ends])


def _bin(length: int) -> int:
    """The next of 16, 24, 32, 48, 64, 96, …: two bins for each doubling."""
    power = max(16, 1 << (length - 1).bit_length())
    return power // 4 * 3 if power > 16 and length <= power // 4 * 3 else power
