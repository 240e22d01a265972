"""The quantize stage over all its types: each is uploaded while the next is made, and deleted when verified."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from job.artifacts import digest_of
from job.evaluate import vocabulary
from job.llama_cpp import quantize
from job.logs import log, span
from job.pipeline import evaluate
from job.pipeline.imatrix import _importance_matrix
from job.pipeline.state import State
from job.run.records import StageRecord
from job.spec.naming import file_names, run_name
from job.spec.quants import HELPED_BY_IMATRIX


def quantize_each(state: State) -> None:
    """Makes each type that is not in the store."""
    made = digest_of(state.known.exported())
    matrix = _importance_matrix(state, made)
    wanted = {
        kind: {
            "export": made,
            "type": kind,
            "imatrix": matrix.artifacts[0].sha256 if matrix and kind in HELPED_BY_IMATRIX else None,
            "split": state.spec.export.split_max_size,
        }
        for kind in state.spec.export.types
    }
    kept = {kind: state.run.record("quantize", digest_of(depends), kind) for kind, depends in wanted.items()}
    _tell_plan(kept)
    evaluate.judge_unquantized(state)
    uploads = ThreadPoolExecutor(1, thread_name_prefix="upload")
    waiting: dict[str, Future[StageRecord]] = {}
    try:
        for kind, depends in wanted.items():
            key, record = digest_of(depends), kept[kind]
            if record:
                state.known.quants[kind] = record
                if not evaluate.is_judged(state, kind, key):
                    _judge_again(state, kind, record)
                continue
            for earlier in list(waiting.values())[:-1]:
                earlier.result()  # at most one file is uploaded while one is made
            result = _quantize(state, kind, matrix)
            if not evaluate.is_judged(state, kind, key):
                evaluate.judge(state, kind, result.files[0], key)
            waiting[kind] = uploads.submit(_keep_quant, state, kind, key, depends, result)
        state.known.quants |= {kind: future.result() for kind, future in waiting.items()}
    finally:
        uploads.shutdown(wait=False, cancel_futures=True)


def _tell_plan(kept: dict[str, StageRecord | None]) -> None:
    made = max((record.finished for record in kept.values() if record), default=None)
    log.info(
        "quantize.planned",
        make=[kind for kind, record in kept.items() if not record],
        keep=[kind for kind, record in kept.items() if record],
        made=made or None,
    )


def _quantize(state: State, kind: str, matrix: StageRecord | None) -> quantize.Result:
    state.run.attempt.doing("quantize", kind)
    folder = state.run.work / "quantize" / kind
    folder.mkdir(parents=True, exist_ok=True)
    file = None
    if matrix and kind in HELPED_BY_IMATRIX:
        state.run.bring(matrix, state.run.work / "imatrix")
        file = state.run.work / "imatrix" / matrix.artifacts[0].path
    inputs = quantize.Inputs(gguf=state.files.gguf, type=kind, imatrix=file, name=run_name(state.spec))
    with span("quantize", type=kind):
        made = quantize.run(state.spec, inputs, folder)
        vocabulary.check(made.files[0], state.files.tokens.vocabulary)
        return made


def _judge_again(state: State, kind: str, record: StageRecord) -> None:
    """Downloads a file that an earlier run has made, if it is not judged yet, and judges it."""
    folder = state.run.work / "quantize" / kind
    state.run.bring(record, folder)
    evaluate.judge(state, kind, folder / record.artifacts[0].path, record.key)
    shutil.rmtree(folder)


def _keep_quant(state: State, kind: str, key: str, depends: Any, result: quantize.Result) -> StageRecord:
    metrics = result.model_dump(mode="json", exclude={"files"}) | {"type": kind}
    folder = result.files[0].parent
    record = state.run.keep("quantize", key, folder, [path.name for path in result.files], metrics, depends)
    state.publisher.send_ahead(folder, record.artifacts, file_names(state.spec, kind, record.artifacts))
    for path in result.files:
        path.unlink()
    return record
