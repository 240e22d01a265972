"""Which rows of the data sets are held out, and how many of them stand among the others."""

from collections.abc import Sequence
from typing import NamedTuple

from job.dataset.spool import Spool
from job.logs import log
from job.spec.sections import Dataset

MOST = 0.1
"""The largest share of the rows that `eval_fraction: auto` holds out."""
SHARES = (*(step / 10**power for power in (6, 5, 4, 3) for step in (1, 2, 5)), *(n / 100 for n in range(1, 11)))


class Wanted(NamedTuple):
    """What `eval_fraction: auto` holds out: about `tokens` tokens, of which a row has at most `longest`."""

    tokens: int
    longest: int | None = None


ENOUGH = Wanted(16_384)


class Part(NamedTuple):
    """A data set after reading: its rows, those of its named evaluation split, its broken rows, what is not trained."""

    dataset: Dataset
    rows: Spool
    named: Spool | None
    broken: int
    left_out: dict[str, int]


def count_seen(parts: list[Part]) -> int:
    """How many held-out rows are equal to one that is trained, of whichever data set."""
    import numpy

    held_out = numpy.concatenate(
        [part.named.hashes(held_out=False) if part.named else part.rows.hashes(held_out=True) for part in parts]
    )
    seen = numpy.zeros(len(held_out), dtype=bool)
    for part in parts:
        trained = part.rows.hashes(held_out=False)
        if len(trained):
            trained.sort()  # in place: numpy.isin would need several times as much memory
            seen |= trained[numpy.searchsorted(trained, held_out).clip(max=len(trained) - 1)] == held_out
    return int(seen.sum())


def hold_out(parts: list[Part], dropped: Sequence[Sequence[int]], wanted: int) -> None:
    """Decides which rows are held out. `auto` is one share for all sets that have it, so that none is preferred.
    `dropped`: rows of each set that are not used."""
    automatic = [part.rows for part in parts if not part.named and part.dataset.eval_fraction == "auto"]
    share = share_of(wanted, sum(rows.tokens for rows in automatic))
    held_out = 0
    for part, left_out in zip(parts, dropped, strict=True):
        fraction = 0.0 if part.named else part.dataset.eval_fraction
        count = part.rows.settle(share if fraction == "auto" else fraction, left_out)
        held_out += count if fraction == "auto" else 0
        if part.named:
            part.named.settle(0.0, part.named.repeats() if part.dataset.duplicates == "drop" else ())
    if automatic:
        log.info("data.held_out", rows=held_out, of=sum(map(len, automatic)), share=share, most=MOST, wanted=wanted)


def share_of(wanted: int, tokens: int) -> float:
    """The smallest sensible share of rows that holds `wanted` of so many tokens. Round numbers: a few rows more or less
    leave it as it is, and a smaller one holds out some of the rows of a larger one."""
    return next((share for share in SHARES if share * tokens >= wanted), MOST)
