"""The quantize stage over all its types: each is uploaded while the next is made, and deleted when verified."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from job import evaluating, imatrix, vocabulary
from job.artifacts import digest_of
from job.errors import DataInvalid
from job.logs import log, span
from job.manifest import StageRecord
from job.naming import IMATRIX, file_names, run_name
from job.quants import HELPED_BY_IMATRIX, NEEDS_IMATRIX
from job.stages import quantize
from job.state import State


def quantize_each(state: State) -> None:
    """Makes each type that the store does not have."""
    made = digest_of(state.exported())
    matrix = _importance_matrix(state, made)
    evaluating.judge_unquantized(state)
    uploads = ThreadPoolExecutor(1, thread_name_prefix="upload")
    waiting: dict[str, Future[StageRecord]] = {}
    try:
        for kind in dict.fromkeys(state.spec.export.types):
            depends = {
                "export": made,
                "type": kind,
                "imatrix": matrix.artifacts[0].sha256 if matrix and kind in HELPED_BY_IMATRIX else None,
                "split": state.spec.export.split_max_size,
            }
            key = digest_of(depends)
            record = state.run.record("quantize", key)
            if record:
                state.quants[kind] = record
                if not evaluating.is_judged(state, kind, key):
                    _judge_again(state, kind, record)
                continue
            for earlier in list(waiting.values())[:-1]:
                earlier.result()  # one file is being uploaded and one being made, never more
            result = _quantize(state, kind, matrix)
            if not evaluating.is_judged(state, kind, key):
                evaluating.judge(state, kind, result.files[0], key)
            waiting[kind] = uploads.submit(_keep_quant, state, kind, key, depends, result)
        state.quants |= {kind: future.result() for kind, future in waiting.items()}
    finally:
        uploads.shutdown(wait=False, cancel_futures=True)


def _quantize(state: State, kind: str, matrix: StageRecord | None) -> quantize.Result:
    state.run.attempt.doing("quantize", kind)
    folder = state.run.work / "quantize" / kind
    folder.mkdir(parents=True, exist_ok=True)
    file = None
    if matrix and kind in HELPED_BY_IMATRIX:
        state.run.bring(matrix, state.run.work / "imatrix")
        file = state.run.work / "imatrix" / matrix.artifacts[0].path
    inputs = quantize.Inputs(gguf=state.gguf, type=kind, imatrix=file, name=run_name(state.spec))
    with span("quantize", type=kind):
        made = quantize.run(state.spec, inputs, folder)
        vocabulary.check(made.files[0], state.held_out.vocabulary)
        return made


def _judge_again(state: State, kind: str, record: StageRecord) -> None:
    """A file that an earlier run has made is brought back where its judgement is missing."""
    folder = state.run.work / "quantize" / kind
    state.run.bring(record, folder)
    evaluating.judge(state, kind, folder / record.artifacts[0].path, record.key)
    shutil.rmtree(folder)


def _keep_quant(state: State, kind: str, key: str, depends: Any, result: quantize.Result) -> StageRecord:
    metrics = result.model_dump(mode="json", exclude={"files"}) | {"type": kind}
    folder = result.files[0].parent
    record = state.run.keep("quantize", key, folder, [path.name for path in result.files], metrics, depends)
    state.publisher.send_ahead(folder, record.artifacts, file_names(state.spec, kind, record.artifacts))
    for path in result.files:
        path.unlink()
    return record


def _importance_matrix(state: State, made: str) -> StageRecord | None:
    """The matrix from the training rows (`auto`), where a type needs one or gains by it, or the user's own file; kept
    like a stage's work."""
    wanted, types = state.spec.export.imatrix, set(state.spec.export.types)
    if wanted == "none" or not types & HELPED_BY_IMATRIX:
        return None
    own = None if wanted == "auto" else Path(wanted).expanduser()
    data = state.records["fetch"].metrics.get("data") or {}
    if own is None and not data:
        return None
    depends = {
        "export": made,
        "data": imatrix.digest_of_file(own) if own else data["digest"],
        "template": state.spec.chat.template,
        "size": [state.spec.evaluation.context, imatrix.MOST_CHUNKS],
    }
    key = digest_of(depends)
    record = state.run.record("imatrix", key)
    if record is None:
        folder = state.run.work / "imatrix"
        folder.mkdir(parents=True, exist_ok=True)
        state.run.attempt.doing("imatrix", "imatrix")
        with span("imatrix"):
            if own:
                imatrix.copy_checked(own, folder / IMATRIX)
            elif not _computed(state, folder, needed=bool(types & NEEDS_IMATRIX)):
                return None
        record = state.run.keep("imatrix", key, folder, [IMATRIX], {"own": own is not None}, depends)
    state.records["imatrix"] = record
    return record


def _computed(state: State, folder: Path, *, needed: bool) -> bool:
    """Computes it from the training rows. Where no type needs one, rows that are too few are no fault."""
    spec, kind = state.spec, state.records["fetch"].metrics["data"]["kind"]
    rows = state.data / "train.jsonl"
    text = imatrix.render_text(rows, kind, state.model.model, folder / "calibration.txt", template=spec.chat.template)
    try:
        imatrix.make_imatrix(state.gguf, text, folder / IMATRIX, context=spec.evaluation.context)
    except DataInvalid as error:
        if needed:
            raise
        log.warning("imatrix.none", why=error.message, what="the types are made without one")
        return False
    return True
