"""The hollow model, loaded onto no device: whether the files have every tensor that the class expects, and a row for
every token."""

from pathlib import Path
from typing import Any

from job.architectures import auto_class
from job.errors import IntegrityViolated, SpecInvalid
from job.logs import log
from job.predict.vram import BITS_OF_4
from job.spec import JobSpec
from job.train.targets import experts

SHOWN = 4


def load_hollow(folder: Path, where: str, attention: str | None = None) -> Any:
    """The model on torch's meta device, as transformers loads it for training.

    Raises IntegrityViolated for files that do not fit the class, SpecInvalid for a config that it does not take, or if
    the class does not have this implementation of attention.
    """
    try:
        model, found = auto_class(folder).from_pretrained(
            folder,
            device_map={"": "meta"},
            attn_implementation=attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a class may fail in any way at a config that it was not written for
        if attention and "does not support" in str(error):
            raise SpecInvalid(
                f"training.attn_implementation: {attention} is not there for {where}: {str(error).partition('.')[0]}",
                hint="Set it to auto.",
            ) from error
        raise SpecInvalid(
            f"model.id: transformers cannot load {where}: {type(error).__name__}: {error}",
            hint="Check that its config.json is that of the published model.",
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise IntegrityViolated(
            f"{where} is not whole: its files lack {_some(missing)}; training would start from random numbers there",
            hint="Name the complete model. A copy without its output layer is whole only if it says that it is tied.",
        )
    if wrong := sorted((name, list(here), list(expected)) for name, here, expected in found["mismatched_keys"]):
        name, here, expected = wrong[0]
        raise IntegrityViolated(
            f"{where}: {name} has shape {here}, and its config.json asks for {expected} ({len(wrong)} such tensors)",
            hint="Its config.json and its weights do not belong together.",
        )
    if extra := sorted(found["unexpected_keys"]):
        log.warning("rehearse.unused_tensors", count=len(extra), what=f"not loaded: {_some(extra)}")
    return model


def text_parameters(model: Any) -> int:
    """The number of parameters of the language model, without towers for pictures and sound."""
    inner = next((module for name, module in model.named_modules() if name.endswith("language_model")), None)
    if inner is None:
        return int(model.num_parameters())
    head = model.get_output_embeddings()
    tied = head is None or head.weight is model.get_input_embeddings().weight
    return int(sum(weight.numel() for weight in inner.parameters()) + (0 if tied else head.weight.numel()))


def check_quantized(spec: JobSpec, model: Any) -> None:
    """Raises SpecInvalid for what bitsandbytes would quantize into a shape that cannot be merged or computed with, and
    for experts that are one tensor (transformers 5), if they would not be quantized as the spec asks for."""
    import torch
    from transformers.pytorch_utils import Conv1D

    if spec.load.bits not in (4, 8):
        return
    if any(isinstance(module, Conv1D) for module in model.modules()):
        raise SpecInvalid(
            f"load.bits: {spec.load.bits} cannot be merged for {spec.model.id}, whose layers are transposed (Conv1D)",
            hint="Set load.bits: 16.",
        )
    if any(name.endswith(".dt_proj") and isinstance(one, torch.nn.Linear) for name, one in model.named_modules()):
        raise SpecInvalid(
            f"load.bits: {spec.load.bits} does not train {spec.model.id}: its class multiplies by dt_proj's weights "
            "itself, which would be quantized",
            hint="Set load.bits: 16.",
        )
    count = sum(weight.numel() for weight in experts(model).values())
    if count and spec.load.bits == 8:
        raise SpecInvalid(
            f"load.bits: 8 does not quantize the experts of {spec.model.id}: {count:,} parameters, {_gb(count, 16)} in "
            f"16 bits and {_gb(count, 32)} in float32",
            hint=f"Set load.bits: 4, in which they take {_gb(count, BITS_OF_4)}.",
        )
    if count and spec.export.merge_base == "quantized":
        raise SpecInvalid(
            f"export.merge_base: quantized is not there for {spec.model.id}: its experts are quantized as one tensor, "
            "and are many in its files",
            hint="Leave export.merge_base at original.",
        )


def check_trainer(spec: JobSpec, model: Any) -> None:
    """Raises SpecInvalid for a model whose loss SFTTrainer cannot compute: it multiplies what the model without its
    output layer gives by that layer's weights (trl/trainer/utils.py, `patch_fused_lm_head`), and Llama 4's class does
    not have the one without the other."""
    trained_by_trl = spec.training and spec.training.trainer == "trl"
    if trained_by_trl and model.base_model.get_output_embeddings() is not None:
        raise SpecInvalid(
            f"training.trainer: trl cannot train {spec.model.id}: its class has no language model without output layer",
            hint="Set training.trainer: transformers.",
        )


def _gb(parameters: int, bits: float) -> str:
    return f"{parameters * bits / 8 / 1e9:.1f} GB"


def check_tokens(folder: Path, rows: int, where: str) -> None:
    """Raises IntegrityViolated if the tokenizer in a folder has ids for which the embedding has no row."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).get_vocab()
    beyond = sorted((number, token) for token, number in vocabulary.items() if number >= rows)
    if beyond:
        tokens = _some([f"{token!r} ({number})" for number, token in beyond])
        raise IntegrityViolated(
            f"{where} has {rows} embedding rows, and its tokenizer has more ids: {tokens}",
            hint="Its tokenizer and its weights do not belong together.",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
