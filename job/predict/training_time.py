"""Seconds of a training on a GPU: the larger of what the GPU computes and what its host needs to ask for it.

The shares and the two constants of bytes follow one NVIDIA H200 with Llama-2-7B (docs/prediction.md); on no other card
has this been measured.
"""

from math import ceil

from job.predict import activations
from job.predict.anatomy import Anatomy
from job.predict.checkpointing import choose
from job.predict.gpus import Gpu
from job.predict.row_lengths import RowLengths, row_length
from job.spec import JobSpec
from job.spec.precision import precision_of

FLOPS_SHARE = 0.52
"""The share of a GPU's peak that its matrix products reach."""
T4_FLOPS_SHARE = 0.38
"""Its 70 W do not hold the data sheet's clock: 25 TFLOP/s, assumed."""
BANDWIDTH_SHARE = 0.72
"""The share of its memory's bandwidth that everything else reaches."""
PASSES = 15.5
"""How often each input and output of a block's linear layers is read or written, in a forward pass, a recomputation and
a backward pass."""
ADAPTER_BYTES, DROPOUT_BYTES = 50, 25
"""The same in bytes, for those of a layer with an adapter, and more with dropout."""
LOGIT_BYTES = 200
"""Bytes moved for each logit if TRL computes the loss without Triton."""
QUANTIZED_BYTES = 0.5
"""Read for each 4-bit weight and pass; what is written has the dtype of computing."""
LAUNCH_S, RECOMPUTING_S = 7.7e-3, 9.3e-3
"""Seconds of the host for a block's forward and backward pass, and more with checkpointing: the least that a step of
short rows takes."""
FLOAT32 = 8
"""How many times longer matrix products take in float32."""


def flops(gpu: Gpu) -> float:
    """Operations per second of matrix products in 16 bits."""
    return gpu.tflops * 1e12 * (T4_FLOPS_SHARE if gpu.name == "t4" else FLOPS_SHARE)


def bytes_per_s(gpu: Gpu) -> float:
    """Bytes per second between the GPU and its memory."""
    return gpu.bandwidth * 1e9 * BANDWIDTH_SHARE


def operations(model: Anatomy, length: float) -> tuple[float, float]:
    """Operations of a forward pass per token, of all blocks and of the output layer: two for each weight, and causal
    attention over rows of `length`."""
    attention = 2 * length * model.heads * model.head * model.layers
    return 2 * model.active_parameters + attention, 2 * model.vocabulary * model.width


def recomputed(spec: JobSpec, model: Anatomy, gpu: Gpu, longest: int, *, triton: bool = False) -> float:
    """The share of the blocks that recompute their activations, if the longest row has so many tokens."""
    every = choose(spec, model, gpu.memory, longest, capability=gpu.capability, triton=triton).every
    return ceil(model.layers / every) / model.layers if every else 0.0


def step_s(spec: JobSpec, model: Anatomy, gpu: Gpu, length: float, recomputes: float, *, triton: bool = False) -> float:
    """Seconds of a forward and a backward pass over a micro-batch of rows of `length`.

    The gradients of the activations take as many operations as a forward pass (LoRA needs none of the weights).
    `recomputes`: the share of the blocks whose forward pass is computed again.
    """
    training = spec.training
    assert training
    tokens, passes = training.micro_batch * length, 2 + recomputes
    blocks, head = operations(model, length)
    computed = tokens * (passes * blocks + 3 * head) / _flops(spec, model, gpu)
    moved = tokens * (passes + 1) / 4 * _moved(spec, model, gpu) + passes * _dequantized(spec, model, gpu)
    moved += 0 if triton else tokens * LOGIT_BYTES * model.vocabulary
    return max(computed + moved / bytes_per_s(gpu), (LAUNCH_S + RECOMPUTING_S * recomputes) * model.layers)


def forward_s(spec: JobSpec, model: Anatomy, gpu: Gpu, tokens: float) -> float:
    """Seconds of a forward pass alone, over windows of `evaluation.context`."""
    moved = tokens / 4 * _moved(spec, model, gpu)
    computed = tokens * sum(operations(model, spec.evaluation.context)) / _flops(spec, model, gpu)
    return computed + moved / bytes_per_s(gpu)


def generation_s(spec: JobSpec, model: Anatomy, gpu: Gpu) -> float:
    """Seconds of one generated token: all weights are dequantized for it."""
    return max(_dequantized(spec, model, gpu) / bytes_per_s(gpu), LAUNCH_S / 3 * model.layers)


def training_s(
    spec: JobSpec, model: Anatomy, gpu: Gpu, rows: RowLengths, steps: int, held_out: float, *, triton: bool = False
) -> float:
    """Seconds of all steps, of the held-out losses (`held_out`: their tokens), the trace and the samples."""
    training, evaluation = spec.training, spec.evaluation
    assert training
    recomputes = recomputed(spec, model, gpu, rows.longest, triton=triton)
    seconds = (
        steps * training.accumulation * step_s(spec, model, gpu, row_length(spec, rows), recomputes, triton=triton)
    )
    every = training.eval_steps or training.save_steps
    seconds += (2 + steps // every) * forward_s(spec, model, gpu, held_out)
    if evaluation.judge:
        text = evaluation.max_tokens if evaluation.text else 0
        seconds += 2 * forward_s(spec, model, gpu, min(held_out, evaluation.max_tokens) + text)
    batches = ceil(evaluation.samples / training.per_device_eval_batch_size)
    return seconds + 2 * batches * evaluation.max_new_tokens * generation_s(spec, model, gpu)


def _moved(spec: JobSpec, model: Anatomy, gpu: Gpu) -> float:
    """Bytes per token that all blocks' operations between matrix products read and write."""
    size = activations.widths(spec, precision_of(spec, [model.model_type], gpu.capability)).stream
    every = sum(map(sum, (*model.linear.values(), *model.routed.values())))
    adapted = sum(map(sum, activations.targets(spec, model).values()))
    return model.layers * (PASSES * size * every + (ADAPTER_BYTES + DROPOUT_BYTES * (spec.lora.dropout > 0)) * adapted)


def _dequantized(spec: JobSpec, model: Anatomy, gpu: Gpu) -> float:
    """Bytes that one pass moves to make the weights of its matrix products."""
    made = activations.FLOAT if _in_float32(spec, model, gpu) else activations.HALF
    return model.linear_parameters * (QUANTIZED_BYTES + made) if spec.load.bits == 4 else 0.0


def _flops(spec: JobSpec, model: Anatomy, gpu: Gpu) -> float:
    """Operations per second of the training's matrix products."""
    return flops(gpu) / (FLOAT32 if _in_float32(spec, model, gpu) else 1)


def _in_float32(spec: JobSpec, model: Anatomy, gpu: Gpu) -> bool:
    return precision_of(spec, [model.model_type], gpu.capability).compute == "float32"
