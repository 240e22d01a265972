"""Whether answers end: how often the token that ends one comes first, where a held-out answer is over.

Read off the logits that a perplexity leaves behind, so nothing is computed or sampled again. Only the second half of
each window is scored, so about half of the answers count.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from job.artifacts import Frozen
from job.llama_cpp.logits import rows_at

MOST = 1000
"""Answers that are looked at."""


class Ends(Frozen):
    """`first`: after how many of the `answers` an end token is the likeliest."""

    first: int
    answers: int

    @property
    def share(self) -> float:
        return self.first / self.answers


def scored_ends(positions: Sequence[int], context: int, chunks: int) -> Iterator[tuple[int, int]]:
    """Of tokens of the stream that end an answer, those that are scored: the window, and the row of its logits that
    predicts the token."""
    start = context // 2 + 1
    for position in positions[:MOST]:
        window, place = divmod(position, context)
        if window < chunks and place >= start:
            yield window, place - start


def ends_of(logits: Path, positions: Sequence[int], stops: Collection[int], context: int, chunks: int) -> Ends | None:
    """Of the model that left these logits; None if no answer's end is scored. `positions`: of the tokens that end an
    answer, in the stream; `stops`: the ids of every such token."""
    first = answers = 0
    for found in rows_at(logits, scored_ends(positions, context, chunks), context, chunks):
        answers += 1
        first += max(found) == max(found[stop] for stop in stops)
    return Ends(first=first, answers=answers) if answers else None
