"""The estimated time of each stage, kept when the rows are known, and beside what the stages took at the end.

`runs/<run id>/estimate.json`, written once, by the first attempt that has made the rows into tokens.
"""

from pydantic import ConfigDict

from job.artifacts import Frozen
from job.errors import JobError
from job.logs import log
from job.pipeline.state import State
from job.predict.cases_here import ASSUMED, Cases
from job.predict.row_lengths import RowLengths, counted
from job.predict.timing import Seconds
from job.report.times import took
from job.run.records import StageRecord, parsed
from job.run.usage import read_usage
from job.store.base import Conflict

NAME = "estimate"


class Estimate(Frozen):
    """By stage. A later release may write more fields."""

    model_config = ConfigDict(extra="ignore")

    seconds: dict[str, Seconds]


def keep_estimate(state: State) -> None:
    """Logs the estimate, and keeps it."""
    prediction = state.prediction
    if prediction is None or not prediction.seconds:
        return
    found = prediction.with_rows(state.spec, _rows(state), _cases(state))
    total, after = found.total, found.after_training
    log.info("run.estimate", likely=total.likely, most=total.most, after_training=after.likely, steps=found.steps)
    text = Estimate(seconds=found.seconds).model_dump_json().encode()
    try:
        state.run.store.put(_key(state), text, if_absent=True)
    except Conflict:
        return


def _rows(state: State) -> RowLengths | None:
    rows = state.files.tokens
    counts = rows.counts.get("train")
    if not rows.train or not counts or not counts.lengths or not state.spec.training:
        return None
    held_out = rows.held_out.count if rows.held_out else 0
    return counted(rows.train.rows, rows.train.tokens, counts.lengths, held_out, state.spec.training.max_length)


def _cases(state: State) -> Cases:
    record = state.known.records.get("tasks")
    if record is None:
        return ASSUMED
    count = record.metrics["cases"]
    return Cases(count=count, tokens=record.metrics["tokens"] / count, how="counted")


def compared(state: State) -> dict[str, StageRecord]:
    """A record for the manifest: each stage's estimate, and what it took in all attempts. The one that publishes has
    not ended yet. No run fails for it."""
    run = state.run
    try:
        found = run.store.get(_key(state))
        estimate = parsed(Estimate, run.store, _key(state), found[0]) if found else None
    except JobError as error:
        log.warning("run.estimate_unreadable", why=error.message)
        return {}
    if estimate is None:
        return {}
    seconds = took(read_usage(run.store, run.id))
    metrics = {
        stage: expected._asdict() | {"took": seconds.get(stage) if stage != "publish" else None}
        for stage, expected in estimate.seconds.items()
    }
    return {NAME: StageRecord(stage=NAME, key=run.id, artifacts=[], metrics=metrics)}


def _key(state: State) -> str:
    return f"runs/{state.run.id}/estimate.json"
