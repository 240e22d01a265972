"""The measure stage in the parent: what the adapter is worth on the held-out rows, and on `evaluation.text`."""

from typing import Any

from job.artifacts import digest_of
from job.pipeline.state import State
from job.train import measure as measuring
from job.train.measure import Measured
from job.train.trace import Answers


def measure(state: State, key: str) -> dict[str, Any]:
    """What the adapter is measured as: by the training, by an earlier run, or now."""
    rows = state.files.tokens
    if rows.eval is None and rows.text is None:
        return Measured().model_dump(mode="json")
    record = state.run.record("measure", digest_of(_measured_on(state, key)))
    if record is None:
        assert state.files.trained
        inputs = measuring.Inputs(
            model=state.files.model.model,
            adapter=state.files.model.adapter,
            trained=state.files.trained / "adapter",
            rows=rows.eval.path if rows.eval else state.files.train_rows,
            eval=rows.eval.path if rows.eval else None,
            text=rows.text.ids if rows.text else None,
            prompts=rows.prompts,
            added=rows.added,
            answers=Answers(ends=rows.end_places(), stops=rows.stop_ids),
        )
        return keep_measured(state, key, state.run.child(measuring, inputs, "measure"))
    return record.metrics


def keep_measured(state: State, key: str, found: Measured) -> dict[str, Any]:
    """Keeps what was measured. Returns it as the metrics of a record."""
    depends = _measured_on(state, key)
    metrics = found.model_dump(mode="json", include=set(Measured.model_fields))
    return state.run.keep("measure", digest_of(depends), state.run.work, [], metrics, depends).metrics


def _measured_on(state: State, key: str) -> dict[str, Any]:
    evaluation, rows = state.spec.evaluation, state.files.tokens
    settings: list[Any] = [evaluation.judge, evaluation.context, evaluation.max_tokens]
    settings += ["halved"] if state.spec.export.fits else []
    settings += [[prompt.ids for prompt in rows.prompts], evaluation.max_new_tokens]
    depends = {"train": key, "rows": rows.eval and rows.eval.digest, "settings": settings}
    return depends | ({"text": state.known.made("tokens", rows.text.ids.name)} if rows.text else {})
