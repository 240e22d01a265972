"""Estimates the time of each stage, from the spec and the model's config.json alone.

The assumptions are constants here; a run's log has the measured times.
"""

from math import ceil

from job.llama_cpp.imatrix import MOST_CHUNKS
from job.predict.anatomy import Anatomy
from job.predict.disk import Sizes
from job.predict.gpus import Gpu
from job.spec import JobSpec
from job.spec.places import is_downloaded
from job.spec.quants import HELPED_BY_IMATRIX, NEEDS_IMATRIX, UNQUANTIZED

NETWORK = 100e6
"""Bytes per second, from and to the Hub or S3."""
DISK = 300e6
"""Bytes per second when the export writes and when a model is read."""
CPUS = 4
CPU_FLOPS = 60e9
"""Operations per second of one CPU in llama.cpp: a 7B model reads 18 tokens a second on four."""
FLOPS_SHARE = 0.3
"""The share of a GPU's peak that QLoRA with small batches reaches."""
START_S = 15.0
"""Seconds to start a child process that imports torch and transformers."""
WEIGHTS_PER_S = {"quick": 35e6, "k": 8e6, "iq": 1e6}
"""Weights per second that one CPU quantizes: q4_0 to q8_0, k-quants, and types that need an importance matrix."""
WEEK_S = 7 * 24 * 3600


def by_stage(spec: JobSpec, model: Anatomy, size: Sizes, gpu: Gpu | None, steps: int | None) -> dict[str, float | None]:
    """Seconds of each stage. Training is None if its steps are unknown or no GPU is named."""
    tokens = spec.evaluation.max_tokens * (1 + bool(spec.evaluation.text))
    reading = 2 * model.parameters / (CPUS * CPU_FLOPS)
    found: dict[str, float | None] = {"fetch": size.base / (NETWORK if is_downloaded(spec.model.id) else DISK)}
    if spec.training:
        found["train"] = train_s(spec, model, gpu, steps) if gpu and steps is not None else None
    found["export"] = START_S + size.unquantized / DISK
    if spec.export.imatrix == "auto" and HELPED_BY_IMATRIX.intersection(spec.export.types):
        found["imatrix"] = MOST_CHUNKS * spec.evaluation.context * reading
    found["quantize"] = sum(model.parameters / (CPUS * WEIGHTS_PER_S[_kind(kind)]) for kind in _made(spec))
    if spec.evaluation.judge:
        found["evaluate"] = (1 + len(_made(spec))) * tokens * reading
    found["publish"] = sum(size.files.values()) / NETWORK
    return found


def train_s(spec: JobSpec, model: Anatomy, gpu: Gpu, steps: int) -> float:
    """The forward pass and the activations' gradients are two operations per weight and token each (LoRA needs no
    gradients of the weights); with checkpointing the forward pass is computed again. An upper bound: with rows of
    max_length."""
    training = spec.training
    assert training
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
    operations = (6 if training.gradient_checkpointing else 4) * model.parameters
    seconds = operations * steps * batch * training.max_length / (gpu.tflops * 1e12 * FLOPS_SHARE)
    return 2 * START_S + model.stored_bytes / DISK + seconds


def total_s(found: dict[str, float | None]) -> float | None:
    """Seconds of all stages, or None if one is unknown."""
    known = [seconds for seconds in found.values() if seconds is not None]
    return sum(known) if len(known) == len(found) else None


def deadline_s(seconds: float | None) -> int:
    """The Job's activeDeadlineSeconds: seven days, or three times the estimate if that is more. It includes the time
    that a pod is pending, and starts again at each resume."""
    return max(WEEK_S, int(3 * (seconds or 0)))


def _made(spec: JobSpec) -> list[str]:
    return [kind for kind in spec.export.types if kind not in UNQUANTIZED]


def _kind(kind: str) -> str:
    return "iq" if kind in NEEDS_IMATRIX or kind.startswith("iq") else "k" if "_k" in kind else "quick"


def known_steps(spec: JobSpec) -> int | None:
    """The most optimizer steps, or None if they depend on the rows."""
    if spec.training is None:
        return 0
    limits = [one.limit for one in spec.datasets]
    if spec.training.max_steps < 0 and None in limits:
        return None
    return steps(spec, sum(limit or 0 for limit in limits))


def steps(spec: JobSpec, rows: int) -> int:
    """Optimizer steps for `rows` rows."""
    training = spec.training
    assert training
    if training.max_steps > 0:
        return training.max_steps
    micro = ceil(rows / training.per_device_train_batch_size)
    return ceil(ceil(micro / training.gradient_accumulation_steps) * training.num_train_epochs)
