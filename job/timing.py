"""How long each stage takes: estimates, and marked as such wherever they are shown.

Throughputs are rounded figures of common machines (a cloud node with 4 CPUs, network storage): an order of magnitude,
from which a deadline and a price can be told, not a promise.
"""

from math import inf

from job import memory
from job.anatomy import Anatomy
from job.gpus import Gpu
from job.quants import HELPED_BY_IMATRIX, UNQUANTIZED
from job.spec import JobSpec

FLOPS_SHARE = 0.3
"""Of a GPU's peak, what QLoRA with small batches reaches."""
NETWORK, DISK = 50e6, 150e6  # bytes a second
START_S = 30.0  # importing torch and loading, once for each stage that does
QUANTIZED = 30e6  # weights a second, on 4 CPUs
CPU_FLOPS = 1e11  # of llama.cpp on 4 CPUs
GPU_JUDGING = 0.2  # of a GPU's peak, in llama.cpp with a batch of 512
WEEK_S = 7 * 24 * 3600
DEADLINE = 3
"""Times the estimate, and a week at least: a deadline counts the time in queues, and begins anew at each resume."""


def steps(spec: JobSpec) -> int | None:
    """Optimizer steps at most, where the number of rows is known from the spec."""
    assert spec.training
    limits = [one.limit for one in spec.datasets]
    if spec.training.max_steps > 0:
        return spec.training.max_steps
    return None if None in limits else memory.steps(spec, sum(limit or 0 for limit in limits))


def seconds(spec: JobSpec, model: Anatomy, gpu: Gpu | None) -> dict[str, float]:
    """By stage; `train` is infinite where the number of steps is not known, and missing where nothing is trained."""
    unquantized = memory.export_bytes(model, spec.export.dtype)
    types = [kind for kind in spec.export.types if kind not in UNQUANTIZED]
    judged = spec.evaluation.max_tokens * (1 + len(types)) if spec.evaluation.judge else 0
    matrix = MATRIX_TOKENS if spec.export.imatrix == "auto" and HELPED_BY_IMATRIX.intersection(types) else 0
    rate = gpu.tflops * 1e12 * GPU_JUDGING if gpu else CPU_FLOPS
    found = {"fetch": START_S + memory.export_bytes(model, "f16") / NETWORK}
    if spec.training:
        found["train"] = START_S + _training(spec, model, gpu)
    found["export"] = START_S + 2 * unquantized / DISK
    found["quantize"] = len(types) * (model.parameters / QUANTIZED + unquantized / NETWORK / 2)
    found["evaluate"] = 2 * model.parameters * (judged + matrix) / rate
    found["publish"] = len(spec.export.types) * unquantized / NETWORK / 2
    return found


MATRIX_TOKENS = 64 * 512
"""As job/imatrix.py takes them at most."""


def _training(spec: JobSpec, model: Anatomy, gpu: Gpu | None) -> float:
    """Forward and the activations' gradients are 2 operations per weight and token each; with checkpoints, the forward
    pass again. LoRA needs no gradients of the weights."""
    training = spec.training
    assert training
    count = steps(spec)
    if count is None:
        return inf
    tokens = training.per_device_train_batch_size * training.gradient_accumulation_steps * training.max_length
    operations = (6 if training.gradient_checkpointing else 4) * model.parameters
    rate = gpu.tflops * 1e12 * FLOPS_SHARE if gpu else CPU_FLOPS
    return operations * count * tokens / rate


def deadline_s(spec: JobSpec, model: Anatomy | None, gpu: Gpu | None) -> int:
    """A Job's activeDeadlineSeconds: a week at least, else DEADLINE times the estimate."""
    total = sum(seconds(spec, model, gpu).values()) if model else inf
    return WEEK_S if total == inf else max(WEEK_S, int(DEADLINE * total))
