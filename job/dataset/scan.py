"""Reads the beginning of a data set without writing anything, as a run would read it."""

import hashlib
from collections import Counter
from contextlib import closing

from job.artifacts import Frozen
from job.dataset.normalize import normalizer
from job.dataset.prepare import columns_left_out, described_left_out, lines_of
from job.dataset.reading import Source
from job.dataset.spool import SOURCE
from job.dataset.tally import Tally

MOST_ROWS = 20_000
MOST_BYTES = 16 << 20


class Scanned(Frozen):
    """What was seen. `first`: the first broken rows, each with its file, line and reason; `whole`: whether all rows
    were read; `left_out`: what is not trained, in one line."""

    rows: int
    broken: int
    first: list[str]
    whole: bool
    left_out: str | None = None


def scan(source: Source, system: str | None) -> Scanned:
    """The first rows of the split to train on. Raises DataInvalid as a run would, if all of them were read."""
    tally, size, whole = Tally(source.dataset), 0, True
    normalize = normalizer(source.layout, source.layout.kind, system)
    with closing(lines_of(source.files, source, normalize, tally)) as lines:
        for _, line in lines:
            size += len(line)
            if size > MOST_BYTES or tally.good + tally.broken >= MOST_ROWS:
                whole = tally.good == source.dataset.limit
                break
    if whole:
        tally.judge()
    left_out = columns_left_out(source, tally)
    return Scanned(
        rows=tally.good,
        broken=tally.broken,
        first=tally.first,
        whole=whole,
        left_out=described_left_out(source, left_out) if left_out else None,
    )


def digests(source: Source, system: str | None) -> tuple[Counter[bytes], int]:
    """How often each row of the split to train on is there, by a digest of what is trained of it, and how many rows are
    broken."""
    tally, found = Tally(source.dataset), Counter[bytes]()
    normalize = normalizer(source.layout, source.layout.kind, system)
    with closing(lines_of(source.files, source, normalize, tally)) as lines:
        for _, line in lines:
            row = line.rpartition(SOURCE)[0] or line
            found[hashlib.blake2b(row, digest_size=16).digest()] += 1
    return found, tally.broken
