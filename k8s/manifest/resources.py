"""CPU, memory and disk of a run's pod, from the prediction where the model's sizes are known."""

from math import ceil

from job.predict.prediction import Prediction
from k8s.manifest.settings import GIB, Resources

LEAST_MEMORY = 6 * GIB
"""torch with a CUDA context, the libraries and the rows of one process, with room for the files it reads."""
HEADROOM = GIB
BESIDE_FILES = 6 * GIB
"""On disk beside what job/predict/disk.py counts: rows, caches, the log."""
REPACKED = 4.5 / 16
"""Of a 16-bit file: what llama.cpp on a CPU copies of a 4-bit one, the only size that it does that with."""


def resources_of(found: Prediction, *, on_gpu: bool) -> Resources:
    """What the pod asks for. For a family that nothing is known of: the defaults of Settings."""
    if not found.ram:
        return Resources()
    held = found.ram
    if not on_gpu:
        held = held | {"evaluate": held.get("evaluate", 0) + int(REPACKED * found.sizes.half)}
    return Resources(
        memory=_rounded(max(LEAST_MEMORY, max(held.values()) + HEADROOM)),
        disk=_rounded(found.disk_peak.size + BESIDE_FILES),
    )


def _rounded(count: float) -> int:
    """Up to whole GiB."""
    return ceil(count / GIB) * GIB
