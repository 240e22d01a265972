"""CPU, memory and disk of a run's pod, from the prediction where the model's sizes are known."""

from math import ceil

from job.predict import disk, ram
from job.predict.anatomy import Anatomy
from job.spec import JobSpec
from k8s.manifest.settings import GIB, Resources

LEAST_MEMORY = 6 * GIB
"""torch with a CUDA context, the libraries and the rows of one process, with room for the files it reads."""
HEADROOM = GIB
BESIDE_FILES = 6 * GIB
"""On disk beside what job/predict/disk.py counts: rows, caches, the log."""
REPACKED = 4.5 / 16
"""Of a 16-bit file: what llama.cpp on a CPU copies of a 4-bit one, the only size that it does that with."""


def resources_of(
    spec: JobSpec, model: Anatomy | None, *, on_gpu: bool, downloads: bool = True, on_volume: bool = False
) -> Resources:
    """What the pod asks for. Without `model` (a family that nothing is known of): the defaults of Settings.

    `downloads`: whether the base lies on this disk too, which it does unless it comes from a mounted volume.
    `on_volume`: whether the store lies on one, where the spec names none.
    """
    if model is None:
        return Resources()
    if on_volume:
        spec = spec.model_copy(update={"run": spec.run.model_copy(update={"store": "/store"})})
    held = ram.by_stage(spec, model, {}, on_gpu=on_gpu)
    if not on_gpu:
        held["evaluate"] = held.get("evaluate", 0) + int(REPACKED * disk.export_bytes(model, "f16"))
    lies = disk.by_stage(spec, disk.sizes(spec, model, None if downloads else 0))
    return Resources(
        memory=_rounded(max(LEAST_MEMORY, disk.peak(held)[1] + HEADROOM)),
        disk=_rounded(disk.peak(lies)[1] + BESIDE_FILES),
    )


def _rounded(count: float) -> int:
    """Up to whole GiB."""
    return ceil(count / GIB) * GIB
