"""The tokens stage in the parent: rows and cases become tokens, and too little to judge on is told, before training."""

import math

from job.errors import DataInvalid
from job.llama_cpp.windows import LEAST_SCORED, SOUND, error_of, least_tokens
from job.logs import log
from job.pipeline.estimate import keep_estimate
from job.pipeline.evaluate import search_windows, windows_of
from job.pipeline.rows import tell_rows
from job.pipeline.state import State
from job.pipeline.tasks import read_tasks

LARGE_ERROR = 0.05
"""Relative standard error of a perplexity: a tuned model that is 5% worse is not published."""
MOST = 0.5
"""The largest `dataset.eval_fraction` to recommend: more rows are trained on than judged on."""


def count_tokens(state: State) -> None:
    """Makes the rows into tokens. Warns (`evaluate.too_little_text`) if it is too little: the files are
    then made and published without these measurements."""
    evaluation, found = state.spec.evaluation, state.files.tokens
    tell_rows(state)
    keep_estimate(state)
    read_tasks(state)
    if not evaluation.judge:
        return
    if state.spec.export.fits:
        _check_halves(state)
    context, chunks = windows_of(found.held_out, state)
    if chunks:
        _tell_error(state, context, chunks)
    else:
        _warn_of_rows(state)
    if evaluation.text and not windows_of(found.text, state)[1]:
        tokens = found.text.count if found.text else 0
        needed = least_tokens(found.size, evaluation.context, evaluation.max_tokens)
        what = f"evaluation.text is too short to judge on: {tokens} tokens; {_least(needed)}. Name a longer text."
        log.warning("evaluate.too_little_text", of="text", tokens=tokens, needed=needed, what=what)


def _check_halves(state: State) -> None:
    """Raises DataInvalid if there is too little to search a mix of types on one half, and decide on the other."""
    if search_windows(state)[1]:
        return
    held_out = state.files.tokens.held_out
    raise DataInvalid(
        f"export.types: too few held-out tokens to search a mix of types: {held_out.count if held_out else 0}; "
        f"each half of their windows needs {LEAST_SCORED} scored ones",
        hint="Set a larger dataset.eval_fraction or evaluation.max_tokens, or a smaller evaluation.context.",
    )


def _tell_error(state: State, context: int, chunks: int) -> None:
    """How exact the perplexities will be; a warning if a limit of the quality gate is within the error."""
    rows, tokens = state.known.fetched["data"]["eval_rows"], context * chunks
    error = error_of(tokens, context)
    what = f"judged on {rows} held-out rows: {tokens:,} tokens; expect perplexities to be exact to about {error:.1%}"
    if error <= LARGE_ERROR:
        log.info("evaluate.text", rows=rows, tokens=tokens, error=round(error, 4), what=what)
    else:
        more = (
            f"A sound judgement takes {SOUND:,}: add rows, set a larger dataset.eval_fraction, or name evaluation.text."
        )
        log.warning("evaluate.little_text", rows=rows, tokens=tokens, error=round(error, 4), what=f"{what}. {more}")


def _warn_of_rows(state: State) -> None:
    evaluation, found = state.spec.evaluation, state.files.tokens
    data = state.known.fetched.get("data") or {}
    rows, tokens = data.get("eval_rows", 0), found.held_out.count if found.held_out else 0
    needed = least_tokens(found.size, evaluation.context, evaluation.max_tokens)
    fraction = None
    if needed is None:
        advice = "Set a larger evaluation.context or evaluation.max_tokens."
    elif not state.spec.datasets:
        advice = "Name a dataset or evaluation.text."
    elif any(one.eval_split for one in state.spec.datasets):
        advice = "Name a larger dataset.eval_split, or leave it out and set dataset.eval_fraction."
    else:
        fraction = _fraction(state, needed)
        advice = f"Set dataset.eval_fraction: {fraction}." if fraction else _no_fraction(data["rows"] + rows)
    what = (
        f"too little to judge on: {rows} held-out rows with {tokens} tokens; {_least(needed)}. "
        f"The files are made without perplexity and KL divergence. {advice}"
    )
    log.warning(
        "evaluate.too_little_text",
        of="rows",
        rows=rows,
        tokens=tokens,
        needed=needed,
        eval_fraction=fraction,
        what=what,
    )


def _least(needed: int | None) -> str:
    return "no number of tokens is enough with these settings" if needed is None else f"{needed} are needed"


def _no_fraction(rows: int) -> str:
    return f"No dataset.eval_fraction up to {MOST:g} would do with {rows} rows: name evaluation.text, or add rows."


def _fraction(state: State, needed: int) -> float | None:
    """The smallest sensible `dataset.eval_fraction` that holds out `needed` tokens, with room for chance: each row is
    drawn by itself."""
    data, train = state.known.fetched["data"], state.files.tokens.train
    if not train:
        return None
    rows = needed * train.rows / train.tokens
    weights = [one.weight for one in state.spec.datasets]
    total = data["rows"] * len(weights) / sum(weights) + data["eval_rows"]
    fraction = math.ceil(100 * (rows + 2 * math.sqrt(rows) + 1) / total) / 100
    return fraction if fraction <= MOST else None
