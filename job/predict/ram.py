"""Predicts the memory of each stage, from the spec and the model's config.json alone: anonymous memory, which a limit
counts and the kernel cannot reclaim. Mapped files (the base's shards, an unquantized GGUF) are not included.

docs/prediction.md shows the formulas with measurements.
"""

from collections.abc import Mapping
from math import ceil, prod

from job.llama_cpp import windows as judging_windows
from job.predict import activations, vram
from job.predict.anatomy import Anatomy
from job.predict.file_sizes import GGUF_NAMES, Planned
from job.predict.vram import GB
from job.spec import JobSpec
from job.spec.fit import FIT
from job.spec.precision import precision_of
from job.spec.quants import UNQUANTIZED

MB = 1_000_000
PARENT = 55 * MB
"""Bytes of `job run` itself, the parent process of every stage."""
FETCH_START = 40 * MB
PUBLISH_START = 45 * MB
TRAIN_START = 620 * MB
"""Bytes of the imported torch, transformers, peft, trl, datasets and bitsandbytes."""
CUDA_START = 1_000 * MB
"""Bytes of host memory that CUDA's libraries use: an estimate."""
TOKENS_START = 320 * MB
"""Bytes of transformers with only a tokenizer."""
COMPARED = 128
"""Tokens of a window on which llama.cpp and transformers are compared (job/agreement/stage.py)."""
READ_WORD = 1400
"""Bytes per vocabulary entry while a tokenizer is read from its JSON. (3,200 for Llama 3's, which has twice as many
merges as entries.)"""
LLAMA_START = 10 * MB
"""Bytes of a computing llama.cpp program, without weights and vocabulary."""
LLAMA_WORD = 350
"""Bytes per vocabulary entry: its text, its score, its entries in two hash tables (`llama-vocab.cpp`)."""
LLAMA_MICRO_BATCH = 512
"""llama.cpp's default (`common/common.h`): tokens computed at a time."""
TRIED = 512
"""Tokens of context when a file is tried."""
TRIED_ROWS = 32
"""Largest number of logit rows: a prompt's last and those of one short window."""
REPACKED = {"q4_0": 4.5, "q4_K": 4.5, "iq4_nl": 4.5, "q2_K": 2.625, "mxfp4": 4.25}
"""Bits of the types that llama.cpp repacks into a copy on x86-64 (`repack.cpp`)."""
MOST_REPACKED = max(REPACKED.values())
WIDEST = {"q8_0": 8.5}
"""Bits per weight of the widest tensor in a type's file: in most, output and embedding get q6_K (6.5625 bits)."""


def by_stage(
    spec: JobSpec, model: Anatomy, planned: Mapping[str, Planned], *, on_gpu: bool, llama_gpu: bool
) -> dict[str, int]:
    """Bytes in each stage, including the parent. `planned`: llama-quantize's forecast for each type; `llama_gpu`:
    whether llama.cpp computes on the GPU."""
    copied, cuda = _largest_repack(spec, model, planned), CUDA_START * llama_gpu
    tried = cuda or copied
    judged = max(cuda, copied) if spec.evaluation.speed_on_cpu else tried
    dtype = spec.export.unquantized
    found = {"fetch": FETCH_START, "agree": agree(model, dtype)}
    if spec.training:
        found["train"] = train(spec, model, on_gpu=on_gpu)
    found["export"] = export_ram(model, dtype)
    found["imatrix"] = imatrix(spec, model) + cuda
    found["quantize"] = quantize(spec, model, tried)
    if spec.evaluation.judge:
        found["evaluate"] = max(evaluate(spec, model, judged), TOKENS_START + READ_WORD * model.vocabulary)
    if spec.export.fits:
        found["fit"] = max(quantize(spec, model, tried), evaluate(spec, model, tried))
    found["publish"] = PUBLISH_START
    return {stage: count + PARENT for stage, count in found.items()}


def agree(model: Anatomy, dtype: str) -> int:
    """A layer in float32 and a window's logits, twice, while weights stay mapped; then the export of the layers."""
    layer = (model.linear_parameters + model.expert_parameters) // model.layers
    logits = 3 * COMPARED * model.vocabulary
    work = max(activations.FLOAT * (layer + logits), written(model, dtype))
    return TRAIN_START + TOKENIZER_WORD * model.vocabulary + work


def train(spec: JobSpec, model: Anatomy, *, on_gpu: bool) -> int:
    """The training process, with rows of max_length."""
    held = loaded(spec, model, on_gpu=on_gpu)
    if on_gpu:
        return held
    size = _widths(spec, model)
    backward = activations.backward(spec, model, size)
    loss = activations.loss(spec, model, size, triton=False)
    return held + activations.kept(spec, model, size) + max(backward, loss)


def loaded(spec: JobSpec, model: Anatomy, *, on_gpu: bool) -> int:
    """The same before the first row. Without a GPU, weights, gradients and AdamW's state are included."""
    start = TRAIN_START + TOKENIZER_WORD * model.vocabulary
    return start + CUDA_START if on_gpu else start + weights(spec, model) + vram.trainable(spec, model) * 16


def weights(spec: JobSpec, model: Anatomy) -> int:
    """The loaded base on the CPU. Weights that are computed in the files' own dtype stay mapped."""
    if spec.load.bits in (4, 8):
        return vram.weight_bytes(spec, model, _widths(spec, model).stream)
    size = _widths(spec, model).stream
    same = model.stored == ("float32" if size == activations.FLOAT else spec.load.compute_dtype)
    return 0 if same else model.parameters * size


def _widths(spec: JobSpec, model: Anatomy) -> activations.Widths:
    """Without a GPU."""
    return activations.widths(spec, precision_of(spec, [model.model_type], None))


def quantize(spec: JobSpec, model: Anatomy, beside: int) -> int:
    """llama-quantize holds the largest tensor in float32 and quantized (`llama-quant.cpp`); then the file is loaded and
    tried with a short prompt. `beside`: bytes of CUDA's libraries, or of weights that llama.cpp repacks."""
    kinds = [kind for kind in spec.export.labels if kind not in UNQUANTIZED]
    widest = [WIDEST["q8_0"] if kind.startswith(FIT) else WIDEST.get(kind, 6.5625) for kind in kinds]
    bits = max(widest, default=0.0)
    read = 4 if spec.export.unquantized != "f32" else 0
    made = int(model.largest_tensor * (read + bits / 8)) + LLAMA_WORD // 2 * model.vocabulary if kinds else 0
    tried = _llama(model, TRIED) + TRIED_ROWS * model.vocabulary * 4 + beside
    return LLAMA_START + max(made, tried)


def evaluate(spec: JobSpec, model: Anatomy, beside: int) -> int:
    """llama-perplexity: half of its batch's logits in float32, as computed and as kept, and of half a window in 16
    bits. `beside`: as for `quantize`."""
    context = spec.evaluation.context
    windows = max(judging_windows.BATCH // context, 1)
    scored = windows * context // 2
    logits = (scored * 4 + context // 2 * 2) * model.vocabulary
    graph = _graph(model, windows * context, scored)
    return LLAMA_START + _llama(model, windows * _cells(context)) + logits + graph + beside


def imatrix(spec: JobSpec, model: Anatomy) -> int:
    """llama-imatrix: every token's logits, and a float32 sum for each column of each tensor, twice when written."""
    context = spec.evaluation.context
    windows = max(judging_windows.BATCH // context, 1)
    tokens = windows * context
    logits = tokens * model.vocabulary * 4 + _graph(model, tokens, tokens)
    return LLAMA_START + _llama(model, windows * _cells(context)) + logits + model.columns * 8


def _cells(context: int) -> int:
    """The tokens that llama.cpp allocates for a window: a multiple of 256."""
    return ceil(context / 256) * 256


def _llama(model: Anatomy, cells: int) -> int:
    """The vocabulary, and keys and values in 16 bits."""
    return LLAMA_WORD * model.vocabulary + cells * model.layers * 2 * model.kv_heads * model.head * 2


def _graph(model: Anatomy, tokens: int, outputs: int) -> int:
    """The values of a micro-batch in float32: a feed-forward's, or the logits."""
    widest = min(tokens, LLAMA_MICRO_BATCH) * (3 * model.feed_forward + 2 * model.width)
    return max(widest, min(outputs, LLAMA_MICRO_BATCH) * (model.vocabulary + model.width)) * 4


def _largest_repack(spec: JobSpec, model: Anatomy, planned: Mapping[str, Planned]) -> int:
    """Of the files, if llama.cpp computes on the CPU alone: beside a GPU, weights that stay on the CPU are not copied
    (`llama-model.cpp`, make_cpu_buft_list). Without a forecast of which tensors get which type: at most."""
    if all(kind in UNQUANTIZED for kind in spec.export.labels):
        return 0
    if not planned:
        return int(model.parameters * MOST_REPACKED / 8)
    return max(repacked(model, one.tensors) for one in planned.values())


def repacked(model: Anatomy, tensors: Mapping[str, Mapping[str, int]]) -> int:
    """Bytes of a file's weights that llama.cpp copies. `tensors`: of each kind of tensor, how many have which type."""
    elements = {GGUF_NAMES[name]: prod(shape) for name, shape in model.linear.items()}
    elements["output"] = model.vocabulary * model.width
    return int(
        sum(
            elements.get(name, 0) * count * REPACKED.get(kind, 0) / 8
            for name, types in tensors.items()
            for kind, count in types.items()
        )
    )


EXPORT_IMPORTS, EXPORT_START = 0.45 * GB, 0.35 * GB
"""Bytes of torch, transformers and the converter without weights: while they are imported and read the tokenizer, and
after freeing what they can."""

TOKENIZER_WORD = 700
"""Bytes per vocabulary entry of a loaded Hugging Face tokenizer."""


def export_ram(model: Anatomy, dtype: str) -> int:
    """Anonymous memory of the export: the largest tensor, and the vocabulary."""
    largest = written(model, dtype)
    return int(max(EXPORT_IMPORTS, EXPORT_START + largest) + TOKENIZER_WORD * model.vocabulary)


def written(model: Anatomy, dtype: str) -> int:
    """The largest tensor while it is written to a GGUF (job/export/gguf_stream.py)."""
    return (8 if dtype == "f32" or model.expert_parameters else 6) * model.largest_tensor
