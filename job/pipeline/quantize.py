"""The quantize stage over all its types: each is made, tried, judged and uploaded, at the same time as others.

    make    on the CPU: llama-quantize
    try     on the GPU, if there is one: whether the file loads, generates, and reads as the model's tokenizer does
    judge   on the GPU; the unquantized file comes first, since every other is compared with it
    upload  while it is judged

With a GPU, one type is made while another is tried and judged. Two files are on this disk at the same time: a type is
made when the one before the last is judged and in the store.
"""

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.artifacts import digest_of
from job.evaluate import vocabulary
from job.llama_cpp import offload, quantize
from job.logs import log, span
from job.node import memory_bytes
from job.pipeline import answer, evaluate, fit
from job.pipeline.imatrix import importance_matrix, matrix_file
from job.pipeline.lanes import Lanes
from job.pipeline.state import State
from job.run.records import StageRecord
from job.spec.fit import FIT
from job.spec.naming import file_names, run_name
from job.spec.quants import HELPED_BY_IMATRIX


def quantize_each(state: State) -> None:
    """Makes each type that is not in the store, and judges each that is not judged."""
    made = digest_of(state.known.exported())
    matrix = importance_matrix(state, made)
    mixes = fit.search_each(state, matrix)
    wanted = {
        kind: {
            "export": made,
            "type": kind,
            "imatrix": matrix.artifacts[0].sha256 if matrix and _is_helped(kind) else None,
            "split": state.spec.export.split_max_size,
            **({"mix": digest_of(mixes[kind].metrics["types"])} if kind in mixes else {}),
        }
        for kind in _published(state, mixes)
    }
    kept = {kind: state.run.record("quantize", digest_of(depends), kind) for kind, depends in wanted.items()}
    _tell_plan(kept)
    missing = {kind: depends for kind, depends in wanted.items() if not kept[kind]}
    beside = _may_overlap(state)
    with Lanes(beside=beside) as lanes:
        line = _Line(state, lanes, matrix, mixes, missing, beside=beside)
        if beside:
            line.make_next()
        evaluate.judge_unquantized(state)
        answer.score_unquantized(state, made)
        for kind, record in kept.items():
            if record and not _is_measured(state, kind, record.key):
                _measure_again(state, kind, record)
        records = kept | line.run()
    state.known.quants |= {kind: record for kind in wanted if (record := records[kind])}
    judged = state.known.judged
    state.known.judged = {
        kind: judged[kind] for kind in dict.fromkeys([state.spec.export.unquantized, *wanted]) if kind in judged
    }


def _published(state: State, mixes: Mapping[str, StageRecord]) -> list[str]:
    """The types to make. A search may have found that a preset is the best."""
    labels = state.spec.export.labels
    return list(dict.fromkeys(mixes[kind].metrics["published"] if kind in mixes else kind for kind in labels))


def _is_helped(kind: str) -> bool:
    return kind in HELPED_BY_IMATRIX or kind.startswith(FIT)


def _tell_plan(kept: dict[str, StageRecord | None]) -> None:
    made = max((record.finished for record in kept.values() if record), default=None)
    log.info(
        "quantize.planned",
        make=[kind for kind, record in kept.items() if not record],
        keep=[kind for kind, record in kept.items() if record],
        made=made or None,
    )


def _may_overlap(state: State) -> bool:
    """Whether a type is made while another is judged. Without a GPU both would compute on the same CPUs, and with too
    little memory for both the kernel would end the run."""
    ram = state.prediction.ram if state.prediction else {}
    return offload.has_gpu() and bool(ram) and ram["quantize"] + ram.get("evaluate", 0) <= memory_bytes()


@dataclass
class _Sent:
    """Files that are being uploaded, and lie here until they are judged, too."""

    files: list[Path]
    record: Future[StageRecord]

    def leave(self) -> StageRecord:
        """Waits until they are in the store, and deletes them here. Call it when they are judged."""
        record = self.record.result()
        for path in self.files:
            path.unlink(missing_ok=True)
        return record


class _Line:
    """The types that are to be made, in order. `beside`: whether one is made while the one before is judged."""

    def __init__(
        self,
        state: State,
        lanes: Lanes,
        matrix: StageRecord | None,
        mixes: Mapping[str, StageRecord],
        wanted: dict[str, Any],
        *,
        beside: bool,
    ) -> None:
        self._state, self._lanes, self._wanted, self._beside = state, lanes, wanted, beside
        self._inputs = {kind: _inputs(state, kind, matrix, mixes) for kind in wanted}
        self._waiting = list(wanted)
        self._made: dict[str, Future[quantize.Made]] = {}
        self._sent: list[_Sent] = []

    def make_next(self) -> None:
        """Begins with the next type, if one is left."""
        if not self._waiting:
            return
        kind = self._waiting.pop(0)
        before = self._sent[len(self._made) - 2] if len(self._made) >= 2 else None
        self._made[kind] = self._lanes.make(_make, self._state, self._inputs[kind], before, beside=self._beside)

    def run(self) -> dict[str, StageRecord]:
        """Makes, tries, uploads and judges each type. Returns its record."""
        state = self._state
        for kind, depends in self._wanted.items():
            key = digest_of(depends)
            if kind not in self._made:
                self.make_next()
            state.run.attempt.doing("quantize", kind)
            made = self._made[kind].result()
            if self._beside:
                self.make_next()
            result = _try(state, kind, made)
            record = self._lanes.upload(_keep_quant, state, kind, key, depends, result)
            self._sent.append(_Sent(result.files, record))
            _measure(state, kind, result.files[0], key)
        return {kind: sent.leave() for kind, sent in zip(self._wanted, self._sent, strict=True)}


def _inputs(state: State, kind: str, matrix: StageRecord | None, mixes: Mapping[str, StageRecord]) -> quantize.Inputs:
    file = matrix_file(state, matrix) if _is_helped(kind) else None
    inputs = quantize.Inputs(gguf=state.files.gguf, type=kind, imatrix=file, name=run_name(state.spec))
    if kind not in mixes:
        return inputs
    found = mixes[kind].metrics
    return inputs.model_copy(update={"types": found["types"], "preset": found["preset"]})


def _make(state: State, inputs: quantize.Inputs, before: _Sent | None, *, beside: bool) -> quantize.Made:
    if before:
        before.leave()
    folder = state.run.work / "quantize" / inputs.type
    folder.mkdir(parents=True, exist_ok=True)
    with _told(state, inputs.type, beside), state.cpu, span("quantize", type=inputs.type):
        return quantize.make(state.spec, inputs, folder)


@contextmanager
def _told(state: State, kind: str, beside: bool) -> Iterator[None]:
    if not beside:
        yield
        return
    with state.run.attempt.doing_beside(f"quantize {kind}"):
        yield


def _try(state: State, kind: str, made: quantize.Made) -> quantize.Result:
    state.run.attempt.doing("quantize", kind)
    with span("try", type=kind):
        result = quantize.split(state.spec, made)
        found = evaluate.examined(state, kind, result.files[0])
        log.info("quantize.tried", type=kind, generated=found.generated)
        vocabulary.check(result.files[0], state.files.tokens.vocabulary, found)
        return result


def _is_measured(state: State, kind: str, key: str) -> bool:
    judged = evaluate.is_judged(state, kind, key)
    return _is_scored(state, kind, key) and judged


def _is_scored(state: State, kind: str, key: str) -> bool:
    """The unquantized file is scored once, published or not."""
    return kind == state.spec.export.unquantized or answer.is_scored(state, kind, key)


def _measure(state: State, kind: str, gguf: Path, key: str) -> None:
    if not evaluate.is_judged(state, kind, key):
        evaluate.judge(state, kind, gguf, key)
    if not _is_scored(state, kind, key):
        answer.score(state, kind, gguf, key)


def _measure_again(state: State, kind: str, record: StageRecord) -> None:
    """Downloads a file that an earlier run has made, and measures what is not measured yet."""
    folder = state.run.work / "quantize" / kind
    state.run.bring(record, folder)
    _measure(state, kind, folder / record.artifacts[0].path, record.key)
    shutil.rmtree(folder)


def _keep_quant(state: State, kind: str, key: str, depends: Any, result: quantize.Result) -> StageRecord:
    metrics = result.model_dump(mode="json", exclude={"files"}) | {"type": kind}
    folder = result.files[0].parent
    record = state.run.keep("quantize", key, folder, [path.name for path in result.files], metrics, depends)
    state.publisher.send_ahead(folder, record.artifacts, file_names(state.spec, kind, record.artifacts))
    return record
