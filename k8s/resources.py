"""CPU, memory and disk of a run's pod, from the prediction where the model's sizes are known."""

from math import ceil

from job import memory
from job.anatomy import Anatomy
from job.quants import UNQUANTIZED
from job.spec import JobSpec
from k8s.settings import GIB, Resources

LEAST_MEMORY = 6 * GIB
"""torch with a CUDA context, the libraries and the rows of one process, with room for the files it reads."""
BESIDE_EXPORT = 2 * GIB
BESIDE_FILES = 6 * GIB
"""On disk beside models: rows, checkpoints, caches, the log."""
QUANTIZED_SHARE = 0.55
"""Of a 16-bit file, at most: q8_0 has 8.5 bits."""
LOGIT_BYTES = 2
"""llama-perplexity keeps each logit of the unquantized file in 16 bits."""


def resources_of(spec: JobSpec, model: Anatomy | None, *, on_gpu: bool, downloads: bool = True) -> Resources:
    """What the pod asks for. Without `model` (a family that nothing is known of): the defaults of Settings.

    `downloads`: whether the base lies on this disk too, which it does unless it comes from a mounted volume.
    """
    if model is None:
        return Resources()
    held = memory.export_ram(model) + BESIDE_EXPORT
    if spec.training and not on_gpu:
        held = max(held, memory.vram(spec, model).total + BESIDE_EXPORT)
    return Resources(memory=_rounded(max(LEAST_MEMORY, held)), disk=_rounded(_disk(spec, model, downloads)))


def _disk(spec: JobSpec, model: Anatomy, downloads: bool) -> float:
    """The most that lies there at one time: as preflight reckons it, and what judging keeps."""
    unquantized = memory.export_bytes(model, spec.export.dtype)
    largest = max(1.0 if kind in UNQUANTIZED else QUANTIZED_SHARE for kind in spec.export.types)
    base = memory.export_bytes(model, "f16") * downloads
    logits = spec.evaluation.max_tokens * model.vocabulary * LOGIT_BYTES if spec.evaluation.judge else 0
    merged = unquantized * spec.export.merged
    return unquantized + merged + max(base, 2 * unquantized * largest) + logits + BESIDE_FILES


def _rounded(count: float) -> int:
    """Up to whole GiB."""
    return ceil(count / GIB) * GIB
