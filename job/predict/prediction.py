"""Predicts what a run needs, for `plan`, preflight, the launcher, the chart's numbers and the price of a push: from the
spec and the model's config.json alone."""

from typing import NamedTuple

from job.artifacts import Frozen
from job.predict import disk, ram, timing
from job.predict.anatomy import Anatomy
from job.predict.disk import Sizes
from job.predict.file_sizes import Planned, planned_here
from job.predict.gpus import Gpu
from job.predict.vram import Vram, trainable, vram
from job.spec import JobSpec


class Peak(NamedTuple):
    """The stage that needs most, and how many bytes."""

    stage: str
    size: int


class Prediction(Frozen):
    """Bytes and seconds, by stage. For an unknown model family, values that need the model's sizes are empty or None.

    `files`: llama-quantize's forecast for each type, if it gave one; `sizes`: of everything on disk; `ram_loaded`:
    memory of the train stage before its first row; `seconds`: None if a stage's time is unknown; `steps`: at most; None
    if they depend on the rows.
    """

    trainable: int
    vram: Vram | None
    files: dict[str, Planned]
    sizes: Sizes
    ram: dict[str, int]
    ram_loaded: int
    disk: dict[str, int]
    seconds: dict[str, float | None]
    steps: int | None

    @property
    def ram_peak(self) -> Peak:
        return Peak(*disk.peak(self.ram))

    @property
    def disk_peak(self) -> Peak:
        return Peak(*disk.peak(self.disk))

    @property
    def total_s(self) -> float | None:
        return timing.total_s(self.seconds) if self.seconds else None

    @property
    def deadline_s(self) -> int:
        """The Job's activeDeadlineSeconds."""
        return timing.deadline_s(self.total_s)


def predict(
    spec: JobSpec,
    model: Anatomy | None,
    gpu: Gpu | None = None,
    *,
    on_gpu: bool = True,
    base: int | None = None,
    triton: bool = False,
    exact: bool = True,
) -> Prediction:
    """`gpu`: the card, for times. `on_gpu`: whether training has a GPU. `base`: bytes of the base model's files, if
    known. `triton`: whether it is installed; the image does not have it.

    `exact`: if llama-quantize is built, it forecasts the size of each type; otherwise a type's size is assumed, so that
    the result is the same on every machine. Raises Bug if llama-quantize gives no forecast.
    """
    files = planned_here(model, spec.export.types) if model and exact else {}
    sizes = disk.sizes(spec, model, base, {kind: file.size for kind, file in files.items()}, on_gpu=on_gpu)
    steps = timing.known_steps(spec)
    trains = model is not None and spec.training is not None
    return Prediction(
        trainable=trainable(spec, model) if model and trains else 0,
        vram=vram(spec, model, triton=triton) if model and trains else None,
        files=files,
        sizes=sizes,
        ram=ram.by_stage(spec, model, files, on_gpu=on_gpu) if model else {},
        ram_loaded=ram.loaded(spec, model, on_gpu=on_gpu) + ram.PARENT if model and trains else 0,
        disk=disk.by_stage(spec, sizes),
        seconds=timing.by_stage(spec, model, sizes, gpu, steps) if model else {},
        steps=steps,
    )
