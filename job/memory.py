"""The estimate behind `plan`: parameters, VRAM, RAM and disk from the spec and the model's config.json alone.

docs/prediction.md shows the formulas.
"""

from collections.abc import Sequence
from math import ceil

from job.anatomy import Anatomy
from job.artifacts import Frozen
from job.quants import UNQUANTIZED
from job.spec import JobSpec

GB = 1_000_000_000
CUDA_CONTEXT = 0.6 * GB
"""Context, kernels and cuBLAS workspaces of one process: from 0.4 to 0.8 GB by GPU and driver."""
BITS_OF_4 = 4 + 32 / 64
"""bitsandbytes' 4 bits with a float32 constant for each 64 weights (arXiv:2305.14314)."""
BITS_OF_DOUBLE = 4 + 8 / 64 + 32 / (64 * 256)
OPTIMIZER_BYTES = {"paged_adamw_8bit": 2, "adamw_8bit": 2, "sgd": 0}
"""Of state per trained parameter; 8 for AdamW in 32 bits."""
EXPORT_START = 0.45 * GB
"""torch, transformers and the converter without any weight."""

TRAIN_START = 620_000_000
"""torch, transformers, peft, trl and datasets, imported."""
LLAMA_START = 10_000_000
"""A program of llama.cpp that computes, without weights and vocabulary."""
WORD = 350
"""Bytes for each word of a vocabulary: its text, its score, its entries in two hash tables (`llama-vocab.cpp`)."""
QUANTIZE_START = 3_000_000
WIDEST = {"q8_0": 8.5}
"""Bits per weight of the widest type within a type: output and embedding get q6_K (6.5625 bits) in most."""
LLAMA_BATCH, LLAMA_MICRO_BATCH = 2048, 512
"""llama.cpp's defaults (`common/common.h`): tokens for which memory is kept, and that are computed at a time."""


class Vram(Frozen):
    """Bytes on the GPU while training, by part."""

    weights: int
    adapter: int
    optimizer: int
    activations: int
    logits: int
    buffers: int
    context: int

    @property
    def total(self) -> int:
        return sum(self.model_dump().values())


def trainable(spec: JobSpec, model: Anatomy) -> int:
    """LoRA's parameters: r * (inputs + outputs) for each target layer, and one per output with DoRA."""
    wanted = spec.lora.target_modules
    found = 0
    for name, (rows, columns) in model.linear.items():
        if wanted == "all-linear" or name in wanted:
            found += model.layers * (spec.lora.r * (rows + columns) + rows * spec.lora.use_dora)
    for name in spec.lora.modules_to_save:
        if name in ("embed_tokens", "lm_head"):
            found += model.vocabulary * model.width
    return found


def vram(spec: JobSpec, model: Anatomy) -> Vram:
    """While training, with checkpointed activations where the spec says so, and memory-efficient attention."""
    training = spec.training
    assert training
    trained = trainable(spec, model)
    tokens = training.per_device_train_batch_size * training.max_length
    attention, width = (model.heads + 2 * model.kv_heads) * model.head, model.width
    block = tokens * (6 * width + 2 * attention + 4 * model.feed_forward) * 2
    kept = model.layers * tokens * width * 4
    activations = block + kept if training.gradient_checkpointing else model.layers * block
    return Vram(
        weights=weight_bytes(spec, model),
        adapter=trained * 8,
        optimizer=trained * OPTIMIZER_BYTES.get(training.optim, 8),
        activations=activations,
        logits=tokens * model.vocabulary * 10,
        buffers=model.largest_linear * 2 if spec.load.bits in (4, 8) else 0,
        context=int(CUDA_CONTEXT),
    )


def weight_bytes(spec: JobSpec, model: Anatomy) -> int:
    """The loaded base. For 4 and 8 bits the rest is float32: prepare_model_for_kbit_training casts it."""
    bits = {4: BITS_OF_DOUBLE if spec.load.double_quant else BITS_OF_4, 8: 8.0}.get(spec.load.bits)
    if bits is None:
        return model.parameters * spec.load.bits // 8
    return int(model.linear_parameters * bits / 8) + (model.embedding_parameters + model.small_parameters) * 4


def steps(spec: JobSpec, rows: int) -> int:
    """Optimizer steps over so many rows."""
    training = spec.training
    assert training
    if training.max_steps > 0:
        return training.max_steps
    micro = ceil(rows / training.per_device_train_batch_size)
    return ceil(ceil(micro / training.gradient_accumulation_steps) * training.num_train_epochs)


def export_bytes(model: Anatomy, dtype: str) -> int:
    """The unquantized GGUF's tensors: matrices in `dtype`, norms and biases in float32."""
    matrices = model.linear_parameters + model.embedding_parameters
    return matrices * (4 if dtype == "f32" else 2) + model.small_parameters * 4


def export_ram(model: Anatomy) -> int:
    """Anonymous memory of the export: 6 bytes per element of the largest tensor (job/merging)."""
    return int(EXPORT_START + 6 * max(model.largest_linear, model.vocabulary * model.width))


def quantize_ram(model: Anatomy, kinds: Sequence[str]) -> int:
    """Of llama-quantize: the largest tensor in float32, and as it is written (`llama-quant.cpp`)."""
    bits = max((WIDEST.get(kind, 6.5625) for kind in kinds if kind not in UNQUANTIZED), default=0.0)
    return int(QUANTIZE_START + _largest_tensor(model) * (4 + bits / 8)) if bits else 0


def evaluate_ram(spec: JobSpec, model: Anatomy) -> int:
    """Of llama-perplexity with its batch of LLAMA_BATCH tokens: the logits of half of them in float32 and of one window
    in 16 bits, keys and values, the largest graph's buffers. A quantized file's weights are copied into an order of
    their own (`repack.cpp`), those of the unquantized one are mapped."""
    context = spec.evaluation.context
    tokens = max(LLAMA_BATCH, context)
    logits = tokens // 2 * model.vocabulary * 4 + context * model.vocabulary * 2
    return int(_llama_start(model) + logits + _cache(model, tokens) + _graph(model, LLAMA_MICRO_BATCH))


def imatrix_ram(spec: JobSpec, model: Anatomy) -> int:
    """Of llama-imatrix: as for judging, with every token's logits, and a float32 sum for each column of each tensor."""
    tokens = max(LLAMA_BATCH, spec.evaluation.context)
    logits = tokens * model.vocabulary * 4
    columns = model.layers * sum(columns for _, columns in model.linear.values()) + model.width
    return int(_llama_start(model) + logits + columns * 8 + _cache(model, tokens) + _graph(model, LLAMA_MICRO_BATCH))


def _llama_start(model: Anatomy) -> int:
    return LLAMA_START + WORD * model.vocabulary


def _largest_tensor(model: Anatomy) -> int:
    return max(model.largest_linear, model.vocabulary * model.width)


def _cache(model: Anatomy, tokens: int) -> int:
    """Keys and values in 16 bits."""
    return tokens * model.layers * 2 * model.kv_heads * model.head * 2


def _graph(model: Anatomy, tokens: int) -> int:
    """llama.cpp's buffer for one micro-batch: the output's logits, or the widest activations, in float32."""
    return tokens * 4 * max(model.vocabulary, 2 * model.feed_forward + 3 * model.width)


def train_ram(spec: JobSpec, model: Anatomy, *, on_gpu: bool) -> int:
    """Host memory of the training process. Without a GPU the weights and everything that training needs are here, in
    float32."""
    training = spec.training
    assert training
    if on_gpu:
        return TRAIN_START
    trained = trainable(spec, model)
    tokens = training.per_device_train_batch_size * training.max_length
    attention, width = (model.heads + 2 * model.kv_heads) * model.head, model.width
    block = tokens * (6 * width + 2 * attention + 4 * model.feed_forward) * 4
    kept = model.layers * tokens * width * 4
    activations = block + kept if training.gradient_checkpointing else model.layers * block
    logits = tokens * model.vocabulary * 12
    dequantized = model.largest_linear * 4 if spec.load.bits in (4, 8) else 0
    return int(TRAIN_START + weight_bytes(spec, model) + trained * 16 + activations + logits + dequantized)
