"""Predicts the memory that training keeps between the forward and the backward pass: counted from what autograd saves,
operation by operation, in the modeling files of transformers (a test counts the same with torch's saved_tensors_hooks).

docs/prediction.md shows the formulas.
"""

from math import ceil, prod
from typing import NamedTuple

from job.predict.anatomy import Anatomy
from job.spec import JobSpec
from job.spec.precision import Precision
from job.spec.training import TILE_TOKENS, TILE_WORDS, attention_of

FLOAT_TILES = 7.25
"""Float32 tiles that exist beside the tile of logits without Triton: seven and a mask
(trl/kernels/chunked_logprob.py, `_backward_tile`)."""
FLOAT, HALF = 4, 2
SCORE = 8
"""Bytes for each score of unfused attention, in 16 bits (tanh, softmax in float32, its cast) as in float32 (both)."""
SAME_INPUT = dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj"), "attention") | dict.fromkeys(
    ("gate_proj", "up_proj", "gate_up_proj"), "feed-forward"
)


class Widths(NamedTuple):
    """Bytes per element: of what autocast computes (matrix products, attention), of the stream between the blocks, of
    the feed-forward's values, of a dropout's mask and its output to an adapter, of the output layer's weights."""

    computed: int
    stream: int
    feed_forward: int
    mask: int
    dropped: int
    head: int


def widths(spec: JobSpec, precision: Precision) -> Widths:
    """The stream has the dtype of embeddings and norms. bitsandbytes' layers compute in 16 bits and give back the dtype
    of their input (`Linear4bit.forward`), so with float32 embeddings what comes out of them is float32 too.

    Autocast casts the adapters' float32 weights and their inputs; without it PEFT casts the inputs to float32. Masks
    are bytes on a GPU and floats on the CPU.
    """
    mixed = precision.fp16 or precision.bf16
    stream = FLOAT if precision.frozen == "float32" else HALF
    computed = HALF if mixed else stream
    feed_forward = stream if spec.load.bits in (4, 8) else computed
    mask = 1 if precision.cuda else FLOAT
    return Widths(computed, stream, feed_forward, mask, HALF if mixed else FLOAT, stream)


def micro_batch(spec: JobSpec) -> int:
    """The largest number of tokens in one forward pass."""
    assert spec.training
    return spec.training.micro_batch * spec.training.max_length


def targets(spec: JobSpec, model: Anatomy) -> dict[str, tuple[int, int]]:
    """The linear layers of a block that get an adapter."""
    wanted = spec.lora.target_modules
    if wanted == "auto":
        wanted = attention_of({last(name) for name in model.linear}) or []
    return {name: shape for name, shape in model.linear.items() if wanted == "all-linear" or last(name) in wanted}


def last(name: str) -> str:
    """A layer's own name, of its path in a block."""
    return name.rpartition(".")[2]


def block(spec: JobSpec, model: Anatomy, size: Widths) -> int:
    """Bytes that one block saves for a micro-batch.

    Norms save their input in float32; an adapter saves its dropout's output, the mask, and r values (DoRA also both
    outputs, and a unit matrix), and its weights if they are cast; attention saves queries, keys, values and result; the
    feed-forward three values of its width.
    """
    assert spec.training
    queries, keys = model.heads * model.head, model.kv_heads * model.head
    fused = model.fused and size.computed == size.stream  # a slice keeps the whole tensor, unless it is cast
    values = queries + 2 * keys if fused else keys
    attention = (2 * queries + keys + values) * size.computed + model.heads * FLOAT
    if _is_eager(spec, model):  # repeated heads, and two score matrices
        attention = 3 * queries * size.computed + model.heads * spec.training.max_length * SCORE
    if model.head_norms:
        attention += (queries + keys) * FLOAT
    each = model.norms * model.width * FLOAT + attention + 3 * model.feed_forward * size.feed_forward + model.beside
    unit = sum(inputs * (inputs + spec.lora.r) for _, inputs in targets(spec, model).values()) * FLOAT
    cast = adapter_weights(spec, model) * HALF if size.dropped == HALF else 0
    kept = micro_batch(spec) * (each + _adapters(spec, model, size)) + unit * spec.lora.use_dora + cast
    return int(kept * model.room)


def _is_eager(spec: JobSpec, model: Anatomy) -> bool:
    assert spec.training
    return model.softcapped or spec.training.attn_implementation == "eager"


def adapter_weights(spec: JobSpec, model: Anatomy) -> int:
    """LoRA's parameters in one block: r * (inputs + outputs) for each target layer."""
    return sum(spec.lora.r * (rows + columns) for rows, columns in targets(spec, model).values())


def _adapters(spec: JobSpec, model: Anatomy, size: Widths) -> int:
    """Bytes that the adapters of a block save. Without dropout, an input that is not cast is kept once for all, and the
    one of o_proj by attention already."""
    found = 0
    shared: set[str] = set() if _is_eager(spec, model) else {"o_proj"}
    dtypes = {"o_proj": size.computed, "down_proj": size.feed_forward}
    for name, (outputs, inputs) in targets(spec, model).items():
        found += spec.lora.r * size.dropped + 2 * outputs * size.computed * spec.lora.use_dora
        same_dtype = dtypes.get(last(name), size.stream) == size.dropped
        is_cast = not same_dtype or (size.dropped != FLOAT and spec.load.bits not in (4, 8))
        of = SAME_INPUT.get(last(name), name)
        if spec.lora.dropout:
            found += inputs * (size.dropped + size.mask)
        elif is_cast or of not in shared:
            found += inputs * size.dropped
        if not is_cast:
            shared.add(of)
    return found


def kept(spec: JobSpec, model: Anatomy, size: Widths) -> int:
    """Bytes saved over all blocks; with checkpointing only each block's input."""
    assert spec.training
    one = block(spec, model, size)
    if spec.training.gradient_checkpointing:
        one = micro_batch(spec) * model.width * size.stream
    return model.layers * one


def backward(spec: JobSpec, model: Anatomy, size: Widths) -> int:
    """Bytes of one block's backward pass, beside `kept`: its gradients (three of the feed-forward at once, two of the
    stream), what a recomputed block saves, and a dequantized layer, or all experts of a block."""
    assert spec.training
    gradients = micro_batch(spec) * (3 * model.feed_forward * size.feed_forward + 2 * model.width * size.stream)
    again = block(spec, model, size) if spec.training.gradient_checkpointing else 0
    largest = max(model.largest_linear, experts_of_a_block(spec, model))
    dequantized = largest * size.computed if spec.load.bits in (4, 8) else 0
    rebuilt = 2 * max(map(prod, targets(spec, model).values()), default=0) * FLOAT if spec.lora.use_dora else 0
    return gradients + again + dequantized + rebuilt


def experts_of_a_block(spec: JobSpec, model: Anatomy) -> int:
    """Parameters of the experts that are dequantized at a time."""
    return ceil(model.expert_parameters / model.layers) if spec.load.bits == 4 else 0


def loss(spec: JobSpec, model: Anatomy, size: Widths, *, triton: bool) -> int:
    """Bytes of the output layer and the loss, beside `kept`. TRL never holds all logits; Trainer holds three such
    tensors in float32: the logarithms of the softmax, their gradient, and the logits' gradient.

    Every position goes through the output layer, prompts and padding too. With Triton, TRL copies out the positions
    with a loss; the copy is as large if every token has one.
    """
    assert spec.training
    tokens = micro_batch(spec)
    stream = tokens * model.width * FLOAT
    if spec.training.trainer == "transformers":
        return 12 * tokens * model.vocabulary + stream
    words = min(model.vocabulary, TILE_WORDS)
    logits = min(tokens, TILE_TOKENS) * words
    head = words * model.width * size.computed if size.computed != size.head else 0
    if triton:
        return logits * size.computed + head + stream + tokens * model.width * size.stream
    return logits * size.computed + int(FLOAT_TILES * logits * FLOAT) + head + stream
