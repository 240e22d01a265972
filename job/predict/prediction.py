"""Predicts what a run needs, for `plan`, preflight, the launcher, the chart's numbers and the price of a push: from the
spec, the model's config.json, and for times what is known of the rows."""

from typing import NamedTuple

from job.artifacts import Frozen
from job.predict import disk, ram, timing
from job.predict.anatomy import Anatomy
from job.predict.cases_here import ASSUMED, Cases
from job.predict.deadline import deadline_s
from job.predict.disk import Sizes
from job.predict.file_sizes import Planned, planned_here
from job.predict.row_lengths import RowLengths, longest, steps
from job.predict.timing import ANY, Machine, Seconds
from job.predict.vram import Vram, trainable, vram
from job.spec import JobSpec

_SEARCHED = ("q4_0",)
"""The type of which llama.cpp copies most: a mix is predicted to need as much memory."""


class Peak(NamedTuple):
    """The stage that needs most, and how many bytes."""

    stage: str
    size: int


class Prediction(Frozen):
    """Bytes and seconds, by stage. For an unknown model family, values that need the model's sizes are empty or None.

    `files`: llama-quantize's forecast for each type, if it gave one; `sizes`: of everything on disk; `ram_loaded`:
    memory of the train stage before its first row; `steps`: at most; None if they depend on rows that are not known;
    `rows` and `cases`: what `seconds` take to be known of them; `model` and `machine`: what is predicted for.
    """

    trainable: int
    vram: Vram | None
    files: dict[str, Planned]
    sizes: Sizes
    ram: dict[str, int]
    ram_loaded: int
    disk: dict[str, int]
    seconds: dict[str, Seconds]
    steps: int | None
    rows: RowLengths | None
    cases: Cases
    model: Anatomy | None
    machine: Machine

    def with_rows(self, spec: JobSpec, rows: RowLengths | None, cases: Cases = ASSUMED) -> "Prediction":
        """The same, with times for these rows and cases."""
        if self.model is None:
            return self
        seconds = timing.by_stage(spec, self.model, self.sizes, self.machine, rows, cases)
        known = {"seconds": seconds, "steps": _steps(spec, rows), "rows": rows, "cases": cases}
        return self.model_copy(update=known)

    @property
    def ram_peak(self) -> Peak:
        return Peak(*disk.peak(self.ram))

    @property
    def disk_peak(self) -> Peak:
        return Peak(*disk.peak(self.disk))

    @property
    def total(self) -> Seconds:
        return timing.total(self.seconds.values())

    @property
    def after_training(self) -> Seconds:
        """The time in which the GPU is held after a training."""
        return timing.after_training(self.seconds) if self.seconds else Seconds(None, None)

    @property
    def deadline_s(self) -> int:
        """The Job's activeDeadlineSeconds."""
        return deadline_s(self.total.most)


def predict(
    spec: JobSpec,
    model: Anatomy | None,
    machine: Machine = ANY,
    *,
    rows: RowLengths | None = None,
    cases: Cases = ASSUMED,
    on_gpu: bool = True,
    capability: tuple[int, int] | None = None,
    base: int | None = None,
    exact: bool = True,
) -> Prediction:
    """`machine`, `rows`, `cases`: for times. `on_gpu`: whether there is a GPU. `capability`: the GPU's if the machine's
    is not known; 8.0 or higher if neither is. `base`: bytes of the base model's files, if known.

    `exact`: if llama-quantize is built, it forecasts the size of each type; otherwise a type's size is assumed, so that
    the result is the same on every machine. Raises Bug if llama-quantize gives no forecast.
    """
    planned = (
        planned_here(model, [*spec.export.presets, *_SEARCHED[: len(spec.export.fits)]]) if model and exact else {}
    )
    files = {kind: planned[kind] for kind in spec.export.presets if kind in planned}
    sizes = disk.sizes(spec, model, base, {kind: file.size for kind, file in files.items()}, on_gpu=on_gpu)
    llama_gpu = on_gpu and machine.llama_gpu
    trains = model is not None and spec.training is not None
    capability = capability or (machine.gpu.capability if machine.gpu else None)
    return Prediction(
        trainable=trainable(spec, model) if model and trains else 0,
        vram=vram(spec, model, capability=capability, triton=machine.triton) if model and trains else None,
        files=files,
        sizes=sizes,
        ram=ram.by_stage(spec, model, planned, on_gpu=on_gpu, llama_gpu=llama_gpu) if model else {},
        ram_loaded=ram.loaded(spec, model, on_gpu=on_gpu) + ram.PARENT if model and trains else 0,
        disk=disk.by_stage(spec, sizes),
        seconds=timing.by_stage(spec, model, sizes, machine, rows, cases) if model else {},
        steps=_steps(spec, rows),
        rows=rows,
        cases=cases,
        model=model,
        machine=machine,
    )


def _steps(spec: JobSpec, rows: RowLengths | None) -> int | None:
    return steps(spec, rows or longest(spec, timing.limited(spec))) if spec.training else 0
