"""Predicts the size of the work directory in each stage. `plan` and preflight read it here.

    model     the base, if it is downloaded; deleted when the GGUF exists
    train     checkpoints (the newest ones, and one while it is written) and the adapter; they stay until the end
    export    the unquantized GGUF, and what is published beside it; they stay until the end
    fit       a candidate of the search for a mix of types
    quantize  one file being made, and one being judged and uploaded
    evaluate  the unquantized file's logits, which stay
    publish   one file at a time
    store     everything, if the spec names no store

Rows and data sets are not included: their size is unknown before they are downloaded.
"""

import re
from collections.abc import Mapping
from math import ceil

from job.artifacts import Frozen
from job.llama_cpp import windows
from job.predict import vram
from job.predict.anatomy import Anatomy
from job.spec import JobSpec
from job.spec.fit import Fit
from job.spec.places import is_downloaded
from job.spec.quants import UNQUANTIZED

QUANTIZED_SHARE = 8.5 / 16
"""The largest share of a 16-bit file's size: q8_0 has 8.5 bits."""
MORE_BITS = 1.5
"""The most bits of a weight beside those in its type's name: scales, and the tensors of a block that get a larger type
(at most 1.3, of q3_k_l)."""
SUPER_BLOCK = 256
"""Columns of which k-quants need a multiple; other tensors get larger types."""
GGUF_WORD, TOKENIZER_WORD = 60, 120
"""Bytes per vocabulary entry in a GGUF, and in the tokenizer that each checkpoint contains."""
SHARD = 5_000_000_000
"""Bytes of a file of safetensors, at most (huggingface_hub's `save_torch_state_dict`)."""


class Sizes(Frozen):
    """Bytes of each thing. `base`: of the model's own files; `half`: of a 16-bit GGUF's tensors; `files`: of each type;
    `adapter`: as it is saved."""

    base: int
    half: int
    unquantized: int
    files: dict[str, int]
    adapter: int = 0
    checkpoint: int = 0
    logits: int = 0


def sizes(
    spec: JobSpec,
    model: Anatomy | None,
    base: int | None = None,
    files: Mapping[str, int] = {},
    *,
    on_gpu: bool = True,
) -> Sizes:
    """`base`: the size of the model's files, if known; `files`: the size of each type, if llama-quantize gave a
    forecast.

    Without `model` (an unknown family) the rest is estimated from `base`: 16 bits a weight, any vocabulary.
    """
    if base is None:
        base = model.stored_bytes if model else 0
    double = 2 if spec.export.unquantized == "f32" else 1
    half = export_bytes(model, "f16") if model else base
    unquantized = export_bytes(model, spec.export.unquantized) if model else base * double
    words = model.vocabulary if model else 0
    trained = vram.trainable(spec, model) if model and spec.training else 0
    state = vram.OPTIMIZER_BYTES.get(spec.training.optim, 8) if spec.training and on_gpu else 8
    guessed = {
        kind: unquantized if kind == spec.export.unquantized else half * 2 if kind == "f32" else half
        for kind in spec.export.presets if kind in UNQUANTIZED
    } | {kind: _quantized(kind, model, half) for kind in spec.export.presets if kind not in UNQUANTIZED}  # fmt: skip
    guessed |= {fit.label: min(fit_bytes(fit, half), unquantized) for fit in spec.export.fits}
    return Sizes(
        base=base,
        half=half,
        unquantized=unquantized + GGUF_WORD * words,
        files={kind: size + GGUF_WORD * words for kind, size in guessed.items()}
        | {kind: size + GGUF_WORD * words for kind, size in files.items() if kind in guessed},
        adapter=trained * 4,
        checkpoint=trained * (4 + state) + TOKENIZER_WORD * words if trained else 0,
        logits=logits(spec, model),
    )


def _quantized(kind: str, model: Anatomy | None, half: int) -> int:
    """The most bytes of a type's file; of `half` with 16 bits."""
    bits = None if kind.startswith("mxfp4") else re.search(r"\d", kind)
    if bits is None or not model or not model.how or any(columns % SUPER_BLOCK for columns in model.inputs_of_layers):
        return int(half * QUANTIZED_SHARE)
    rest = model.embedding_parameters * 16 * QUANTIZED_SHARE + model.small_parameters * 32
    matrices = (model.linear_parameters + model.expert_parameters) * (int(bits[0]) + MORE_BITS)
    return min(int((rest + matrices) / 8), int(half * QUANTIZED_SHARE))


def logits(spec: JobSpec, model: Anatomy | None) -> int:
    """The largest size of the file that llama-perplexity writes, reached with enough held-out rows."""
    evaluation = spec.evaluation
    if not evaluation.judge or not (spec.datasets or evaluation.text):
        return 0
    if model is None:
        return windows.LOGITS_LIMIT
    context, chunks = windows.windows(
        evaluation.max_tokens, model.vocabulary, evaluation.context, evaluation.max_tokens
    )
    return windows.logits_bytes(model.vocabulary, context, chunks) if chunks else 0


def by_stage(spec: JobSpec, size: Sizes) -> dict[str, int]:
    """The most bytes in the work directory in each stage."""
    base = size.base * is_downloaded(spec.model.id)
    found = {"fetch": base}
    if spec.training:
        # The next one is written before the oldest is deleted.
        found["train"] = base + size.checkpoint * checkpoints(spec, 2) + size.adapter
    trained = size.adapter * (1 + spec.export.adapter) + size.checkpoint * checkpoints(spec, 1)
    stays = size.unquantized + size.base * spec.export.merged + trained
    found["export"] = base + stays
    # A type that is the unquantized file itself is a hard link.
    made = [0 if kind == spec.export.unquantized else count for kind, count in size.files.items()]
    pair = sum(sorted(made)[-2:])  # any two: those that are in the store already are left out of the order
    if spec.export.fits:
        found["fit"] = stays + int(size.half * QUANTIZED_SHARE) + size.logits  # a candidate at a time
    parts = max(made) if spec.export.split_max_size else 0
    found["quantize"] = stays + pair + parts
    if spec.evaluation.judge:
        found["evaluate"] = stays + pair + size.logits
        found["quantize"] += size.logits
    sent = [*size.files.values(), min(size.base, SHARD) * spec.export.merged]  # one at a time
    found["publish"] = stays + size.logits + max(sent)
    return _with_store(spec, size, found) if spec.run.store is None else found


def fit_bytes(fit: Fit, half: int) -> int:
    """The most bytes of a file that is searched for."""
    return fit.size or int(half / 2 * (fit.bits or 0) / 8)


def checkpoints(spec: JobSpec, more: int) -> int:
    """The largest number of checkpoints: the Trainer keeps one more than the spec asks for."""
    training = spec.training
    if training is None:
        return 0
    most = training.save_total_limit + more
    return min(most, ceil(training.max_steps / training.save_steps)) if training.max_steps > 0 else most


def _with_store(spec: JobSpec, size: Sizes, found: dict[str, int]) -> dict[str, int]:
    """Adds the store in the work directory, which keeps what each stage has made."""
    adapter = size.adapter + size.checkpoint * checkpoints(spec, 0)
    files = sum(size.files.values()) + size.base * spec.export.merged
    kept = {"train": adapter, "export": size.adapter + size.base * spec.export.merged}
    later = size.adapter * (1 + spec.export.adapter) + files
    return {stage: count + kept.get(stage, 0 if stage == "fetch" else later) for stage, count in found.items()}


def peak(found: Mapping[str, int]) -> tuple[str, int]:
    """The stage that needs most, and how many bytes."""
    stage = max(found, key=lambda name: found[name])
    return stage, found[stage]


def export_bytes(model: Anatomy, dtype: str) -> int:
    """The unquantized GGUF's tensors: matrices in `dtype`, norms and biases in float32."""
    matrices = model.linear_parameters + model.expert_parameters + model.embedding_parameters
    return matrices * (4 if dtype == "f32" else 2) + model.small_parameters * 4
