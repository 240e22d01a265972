"""The quantize stage over all its types: each is uploaded while the next is made, and deleted when verified."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from job import evaluating, imatrix, vocabulary
from job.artifacts import digest_of
from job.logs import span
from job.manifest import StageRecord
from job.naming import file_names, run_name
from job.quants import NEEDS_IMATRIX, UNQUANTIZED
from job.stages import quantize
from job.state import State


def quantize_each(state: State) -> None:
    """Makes each type that the store does not have."""
    made = digest_of(state.exported())
    matrix = _importance_matrix(state, made)
    uploads = ThreadPoolExecutor(1, thread_name_prefix="upload")
    waiting: dict[str, Future[StageRecord]] = {}
    try:
        for kind in dict.fromkeys(state.spec.export.types):
            depends = {
                "export": made,
                "type": kind,
                "imatrix": matrix.artifacts[0].sha256 if matrix and kind not in UNQUANTIZED else None,
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
    if matrix and kind not in UNQUANTIZED:
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
    """The matrix where a type needs one (`auto`) or the user's own file, kept like a stage's work."""
    spec = state.spec
    if spec.export.imatrix == "none":
        return None
    if spec.export.imatrix == "auto" and not NEEDS_IMATRIX.intersection(spec.export.types):
        return None
    own = None if spec.export.imatrix == "auto" else Path(spec.export.imatrix).expanduser()
    fetched = state.records["fetch"].metrics
    depends = {
        "export": made,
        "data": imatrix.digest_of_file(own) if own else fetched["data"]["digest"],
        "context": spec.evaluation.context,
    }
    key = digest_of(depends)
    record = state.run.record("imatrix", key)
    if record:
        return record
    folder = state.run.work / "imatrix"
    folder.mkdir(parents=True, exist_ok=True)
    with span("imatrix"):
        if own:
            imatrix.copy_checked(own, folder / "imatrix.gguf")
        else:
            rows, kind = state.data / "train.jsonl", fetched["data"]["kind"]
            text = imatrix.render_text(
                rows, kind, state.model.model, folder / "calibration.txt", template=spec.chat.template
            )
            imatrix.make_imatrix(state.gguf, text, folder / "imatrix.gguf", context=spec.evaluation.context)
    return state.run.keep("imatrix", key, folder, ["imatrix.gguf"], {}, depends)
