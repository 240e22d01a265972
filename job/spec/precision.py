"""What training computes in: the meaning of `auto` for a model family on a GPU. The plan and the training read the same
answer.

float16 ends at 65504. A family whose activations go beyond it gives NaN there; bfloat16 and float32 hold them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from job.spec.parts import Parts

BF16_CAPABILITY = (8, 0)
"""The first compute capability with bfloat16 units (Ampere). torch.cuda.is_bf16_supported() also accepts emulation."""

_UNSLOTH = "unslothai/unsloth-zoo ce232d6, unsloth_zoo/model_lists.py, FORCE_FLOAT32"
FLOAT16_OVERFLOWS = {
    "gemma3": "huggingface/transformers#36822",
    "gemma3_text": "huggingface/transformers#36822",
    "gemma3n": _UNSLOTH,
    "gemma3n_text": _UNSLOTH,
    "gemma4": "unslothai/unsloth#5092",
    "gemma4_text": "unslothai/unsloth#5092",
    "gemma4_unified": "unslothai/unsloth#5092",
    "gemma4_unified_text": "unslothai/unsloth#5092",
    "gpt_oss": "microsoft/onnxruntime-genai#2444: NaN from layer 35 on",
    "qwen3_5": _UNSLOTH,
    "qwen3_5_text": _UNSLOTH,
    "qwen3_5_moe": _UNSLOTH,
    "qwen3_5_moe_text": _UNSLOTH,
    "qwen3_moe": _UNSLOTH,
    "glm4_moe": _UNSLOTH,
    "glm4_moe_lite": _UNSLOTH,
}
"""Families (`model_type`) that overflow in float16, with the source of each."""
FLOAT16_FITS = {
    "llama": "unslothai/notebooks, nb/Llama3.1_(8B)-Alpaca.ipynb, in float16 on a T4; Llama 2 is published in float16",
    "mistral": "unslothai/notebooks, nb/Mistral_v0.3_(7B)-Conversational.ipynb, in float16 on a T4",
}
"""Families that are trained in float16 without float32 between the blocks, with the source of each."""


@dataclass(frozen=True)
class Precision:
    """`cuda`: whether there is a GPU. `compute`: a torch dtype's name; `frozen`: that of frozen weights that are not
    quantized. `fp16`/`bf16`: the Trainer's mixed precision. `overflows`: the family that float16 is too small for, if
    that changed the precision or is ignored."""

    cuda: bool
    compute: str
    fp16: bool
    bf16: bool
    frozen: str = "float32"
    overflows: str = ""

    @property
    def in_float16(self) -> bool:
        return self.fp16 or self.compute == "float16"

    @property
    def told(self) -> str:
        """What `overflows` means for the reader."""
        if self.in_float16:
            return f"{self.overflows} overflows in float16, which the spec asks for: the loss may become NaN"
        return (
            f"{self.overflows} overflows in float16, and a GPU below compute capability 8.0 has no bfloat16: it is "
            "computed in float32, which is slow; a newer GPU is several times as fast"
        )


def families_of(config: Mapping[str, Any]) -> set[str]:
    """The `model_type` of a config.json, and of its language model if that is a part."""
    text = config.get("text_config")
    found = {config.get("model_type"), text.get("model_type") if isinstance(text, Mapping) else None}
    return {str(one) for one in found if one}


def precision_of(spec: Parts, families: Collection[str], capability: tuple[int, int] | None) -> Precision:
    """`capability`: the GPU's compute capability, None without one."""
    training, load = spec.training, spec.load
    assert training
    native = capability is not None and capability >= BF16_CAPABILITY
    too_large = min(FLOAT16_OVERFLOWS.keys() & set(families), default="")
    asks_for_float16 = training.fp16 is True or load.compute_dtype == "float16"
    has_half = capability is not None and (native or not too_large or asks_for_float16)
    bf16 = native and training.fp16 is not True if training.bf16 == "auto" else training.bf16
    fp16 = has_half and not bf16 and not native if training.fp16 == "auto" else training.fp16
    half = "bfloat16" if native else "float16"
    compute = (half if has_half else "float32") if load.compute_dtype == "auto" else load.compute_dtype
    frozen = _frozen(spec, families, compute, is_gpu=capability is not None)
    found = Precision(capability is not None, compute, bool(fp16), bool(bf16), frozen, too_large)
    changed = capability is not None and (found.in_float16 or not has_half)
    return found if changed else Precision(found.cuda, compute, found.fp16, found.bf16, frozen)


def _frozen(spec: Parts, families: Collection[str], compute: str, *, is_gpu: bool) -> str:
    """float32, as `prepare_model_for_kbit_training` casts, or the compute dtype, as SFTTrainer and Unsloth leave it."""
    if spec.load.bits in (16, 32):
        return compute if spec.load.bits == 16 else "float32"
    if spec.load.frozen_dtype != "auto":
        return compute if spec.load.frozen_dtype == "compute" else "float32"
    fits = compute == "bfloat16" or (compute == "float16" and bool(families) and set(families) <= FLOAT16_FITS.keys())
    return compute if is_gpu and fits else "float32"
