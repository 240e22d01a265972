"""How long the rows to train on are: what the time of a training depends on most."""

from math import ceil
from typing import TYPE_CHECKING

from job.artifacts import Frozen
from job.spec import JobSpec

if TYPE_CHECKING:
    from job.tokens.lengths import Lengths

BIN_CENTER = 0.85
"""Of a bin's end: bins are half as wide as their beginning, or a third (job/tokens/lengths.py)."""


class RowLengths(Frozen):
    """`rows`: how many there are to train on, None if unknown; `lengths`: tokens, and how many rows of a sample have so
    many; `held_out`: tokens of the held-out rows, None if unknown; `how`: how this is known."""

    rows: int | None
    lengths: list[tuple[float, int]]
    held_out: float | None = None
    how: str

    @property
    def mean(self) -> float:
        return sum(tokens * rows for tokens, rows in self.lengths) / sum(rows for _, rows in self.lengths)

    @property
    def longest(self) -> int:
        return ceil(max(tokens for tokens, _ in self.lengths))

    def longest_of(self, count: int) -> float:
        """The expected length of the longest of `count` rows drawn at random, to which the others are padded."""
        every, seen, expected, before = sum(rows for _, rows in self.lengths), 0, 0.0, 0.0
        for tokens, rows in sorted(self.lengths):
            seen += rows
            share = (seen / every) ** count
            expected, before = expected + tokens * (share - before), share
        return expected


def counted(rows: int, tokens: int, lengths: "Lengths", held_out: float, most: int) -> RowLengths:
    """Of rows that were made into tokens and cut at `most`: `tokens` in all, which the bins' centers are scaled to."""
    bins = [(min(BIN_CENTER * end, most), count) for end, count in lengths.bins if count]
    known = RowLengths(rows=rows, lengths=bins, held_out=held_out, how="counted")
    scale = tokens / rows / known.mean
    return known.model_copy(update={"lengths": [(size * scale, count) for size, count in bins]})


def longest(spec: JobSpec, rows: int | None) -> RowLengths:
    """Every row as long as it can be."""
    assert spec.training
    return RowLengths(rows=rows, lengths=[(spec.training.max_length, 1)], how="at most")


def row_length(spec: JobSpec, known: RowLengths) -> float:
    """The expected length of a row in a forward pass, padding included."""
    training = spec.training
    assert training
    if training.packing:
        return training.max_length
    return known.mean if training.group_by_length else known.longest_of(training.micro_batch)


def steps(spec: JobSpec, known: RowLengths | None) -> int | None:
    """Optimizer steps; None if they depend on a number of rows that is not known."""
    training = spec.training
    if training is None:
        return 0
    if training.max_steps > 0:
        return training.max_steps
    if known is None or known.rows is None:
        return None
    rows: float = known.rows
    if training.packing:
        rows = ceil(rows * known.mean / training.max_length)
    micro = ceil(rows / training.per_device_train_batch_size)
    return ceil(ceil(micro / training.gradient_accumulation_steps) * training.num_train_epochs)
