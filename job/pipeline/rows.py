"""Tells what of the rows is not trained as it was given: repeated, held out and trained, cut, left out."""

from collections.abc import Mapping
from typing import Any

from job.logs import log
from job.pipeline.state import State
from job.tokens.lengths import Counts

_MANY = 0.05
"""The share of cut rows from which on a run says what to change."""
_PARTS = {"train": "rows to train on", "eval": "held-out rows"}


def tell_rows(state: State) -> None:
    """Warns in every run, also if the rows or their tokens come from an earlier one."""
    _tell_repeated(state.known.fetched.get("data") or {})
    training, counts = state.spec.training, state.files.tokens.counts
    for part, words in _PARTS.items() if training else ():
        if part in counts:
            assert training
            _tell_long(part, words, counts[part], training.max_length)


def _tell_repeated(data: Mapping[str, Any]) -> None:
    """`data`: what the fetch stage says of the rows (job/dataset/prepare.py, Prepared)."""
    repeated, dropped, seen = (data.get(name, 0) for name in ("duplicates", "dropped", "eval_seen"))
    if repeated:
        kept = repeated - dropped
        done = f"{kept:,} of them are trained again; dataset.duplicates: drop leaves them out" if kept else "left out"
        what = f"{_rows(repeated)} equal to an earlier one: {done}"
        log.warning("data.duplicates", rows=repeated, dropped=dropped, what=what)
    if seen:
        what = (
            f"{seen:,} of {data['eval_rows']:,} held-out rows stand among the rows to train on too, so the result will "
            "look better on them than on new ones"
        )
        log.warning("data.held_out_seen", rows=seen, held_out=data["eval_rows"], what=what)


def _tell_long(part: str, words: str, counts: Counts, most: int) -> None:
    cut = counts.too_long - counts.dropped
    assert counts.lengths or not counts.too_long
    if counts.dropped:
        what = f"left out: {counts.dropped:,} of {counts.rows:,} {words}, which have more than {most:,} tokens"
        log.warning("tokens.too_long", of=part, rows=counts.dropped, what=what)
    if cut and counts.lengths:
        share, longest = cut / counts.rows, counts.lengths.longest
        what = f"cut at training.max_length, {most:,} tokens: {cut:,} of {counts.rows:,} {words} ({share:.1%})"
        what += f"; the longest has {longest:,}"
        if share > _MANY:
            what += (
                f". training.max_length: {counts.lengths.p99} would hold 99% of them whole, and dataset.too_long: drop"
            )
            what += " leaves them out"
        log.warning("tokens.cut", of=part, rows=cut, share=share, longest=longest, what=what)


def _rows(count: int) -> str:
    return f"{count:,} row is" if count == 1 else f"{count:,} rows are"
