"""The search for the best file within a budget (`export.types: [{fit: 6G}]`), before the types are made.

Each measured mix is a record, so a run that was killed goes on where it was. A candidate is made, measured and deleted;
one lies on this disk at a time. The search measures on one half of the held-out windows; what is decided comes from the
other half, on which all files are judged.
"""

from pathlib import Path
from typing import Any

from job.artifacts import digest_of
from job.fit import VERSION
from job.fit.budget import Model, compared, model_of, room
from job.fit.groups import Group, groups_of, types_of
from job.fit.importance import weights_of
from job.fit.search import Mix, Point, search
from job.fit.tensors import Types
from job.llama_cpp import perplexity, quantize
from job.logs import Progress, log, span
from job.pipeline import evaluate
from job.pipeline.imatrix import matrix_file
from job.pipeline.state import State
from job.run.records import StageRecord, read_stage
from job.spec.fit import Fit

NAME, POINT = "fit", "fit-point"


def search_each(state: State, matrix: StageRecord | None) -> dict[str, StageRecord]:
    """What was found for each budget, by its label."""
    fits = state.spec.export.fits
    if not fits:
        return {}
    with span(NAME):
        found = {fit.label: _found(state, fit, matrix) for fit in fits}
    state.known.records |= {f"{NAME}/{label}": record for label, record in found.items()}
    return found


def _found(state: State, fit: Fit, matrix: StageRecord | None) -> StageRecord:
    depends = _depends(state, matrix) | {"fit": [fit.fit, fit.context, fit.judgings]}
    key = digest_of(depends)
    if record := state.run.record(NAME, key, fit.label):
        return record
    state.run.attempt.doing(NAME, fit.label)
    made = _Searching(state, fit, matrix).run()
    return state.run.keep(NAME, key, state.run.work, [], made, depends)


def _depends(state: State, matrix: StageRecord | None) -> dict[str, Any]:
    """Exactly what a measured mix depends on."""
    evaluation = state.spec.evaluation
    return {
        "export": digest_of(state.known.exported()),
        "imatrix": matrix.artifacts[0].sha256 if matrix else None,
        "tokens": state.known.records["tokens"].key,
        "settings": [evaluation.context, evaluation.max_tokens],
        "version": VERSION,
    }


class _Searching:
    """The search for one budget."""

    def __init__(self, state: State, fit: Fit, matrix: StageRecord | None) -> None:
        self._state, self._fit, self._depends = state, fit, _depends(state, matrix)
        self._matrix = matrix_file(state, matrix)
        evaluate.judge_unquantized(state)
        self._model: Model = model_of(
            state.files.gguf, state.spec.export.unquantized, has_matrix=matrix is not None, matrix=self._matrix
        )
        self._room = room(fit, self._model)
        self._groups: list[Group] = groups_of(
            self._model.tensors, whole=self._model.whole, has_matrix=self._matrix is not None
        )
        self._compared = compared(self._model, self._room)
        self._bar = Progress(f"searching {fit.label}", fit.judgings + 1 + len(self._compared), "judgings")
        self._done = 0

    def run(self) -> dict[str, Any]:
        """The record's metrics: what is published, and everything that was measured."""
        model, preset = self._model, self._compared[0]
        weights = weights_of(self._groups, self._state.files.gguf, self._matrix) if self._matrix else {}
        found = search(self._groups, self._room, self._measured, self._fit.judgings, model.fixed, weights)
        mix = self._judged(preset, types_of(self._groups, found.best.mix))
        presets = {kind: self._judged(kind, {}) for kind in self._compared}
        best = min(presets, key=lambda kind: (presets[kind].kld, presets[kind].size))
        wins = mix.kld < presets[best].kld  # both on the half that the search has not seen
        published = self._fit.label if wins else best
        log.info(
            "fit.found",
            type=self._fit.label,
            published=published,
            kld=mix.kld,
            preset=best,
            preset_kld=presets[best].kld,
            judgings=len(found.points),
        )
        if not wins:
            what = f"no mix within {self._fit.fit} was found that is better than {best}, so {best} is published"
            log.warning("fit.preset_is_better", type=self._fit.label, preset=best, what=what)
        return {
            "type": self._fit.label,
            "budget": self._fit.model_dump(mode="json"),
            "room": self._room,
            "beside": model.beside,
            "published": published,
            "preset": preset,
            "mix": found.best.mix,
            "types": types_of(self._groups, found.best.mix),
            "found": mix.model_dump(mode="json", exclude={"mix"}),
            "presets": {kind: point.model_dump(mode="json", exclude={"mix"}) for kind, point in presets.items()},
            "searched": [point.model_dump(mode="json", exclude={"mix"}) for point in found.points],
        }

    def _measured(self, mix: Mix) -> Point:
        """On the half for the search. The same for all budgets, so that they share what they measure: a mix names the
        type of every tensor, and the rules of no preset matter."""
        size, kld, error = self._point("q8_0", types_of(self._groups, mix), searched=True)
        return Point(mix=mix, size=size, kld=kld, error=error)

    def _judged(self, kind: str, types: Types) -> Point:
        """On the half that decides."""
        size, kld, error = self._point(kind, types, searched=False)
        return Point(mix={}, size=size, kld=kld, error=error)

    def _point(self, kind: str, types: Types, *, searched: bool) -> tuple[int, float, float]:
        """Size, divergence and its error of a file: from the store, or measured now."""
        state = self._state
        depends = self._depends | {"type": kind, "types": types, "searched": searched}
        key = digest_of(depends)
        record = read_stage(state.run.store, POINT, key)
        if record is None:
            folder = state.run.work / NAME
            metrics = self._measure(folder, kind, types, searched=searched)
            record = state.run.keep(POINT, key, folder, [], metrics, depends)
            name = kind if not types else self._fit.label
            log.info("fit.measured", type=name, size=metrics["size"], kld=metrics["kld"], searched=searched)
        self._done += 1
        self._bar.update(self._done)
        return record.metrics["size"], record.metrics["kld"], record.metrics["kld_error"]

    def _measure(self, folder: Path, kind: str, types: Types, *, searched: bool) -> dict[str, Any]:
        state = self._state
        logits = evaluate.search_logits(state) if searched else evaluate.logits_of(state)
        inputs = quantize.Inputs(
            gguf=state.files.gguf, type=kind, imatrix=self._matrix, name="candidate", types=types, preset=kind
        )
        made = quantize.make(state.spec, inputs, folder)
        try:
            found = perplexity.distance(made.file, logits, context=evaluate.search_windows(state)[0])
            return {"size": made.file.stat().st_size, "kld": found.kld, "kld_error": found.kld_error}
        finally:
            made.file.unlink()
