"""The layers that get an adapter."""

import re
from typing import Any

from job.errors import SpecInvalid
from job.logs import log
from job.spec import JobSpec
from job.spec.training import attention_of


def linear_names(model: Any) -> set[str]:
    """The names of the language model's linear layers, without the output layer and those that compute something else
    (Llama 4's router, which gives two results)."""
    other = re.compile(beside_the_text(model) or r"$.")  # which matches nothing
    linear = [(name, module) for name, module in model.named_modules() if _is_linear(module)]
    plain = {name.rpartition(".")[2] for name, module in linear if not other.fullmatch(name) and _is_plain(module)}
    return plain - {name.rpartition(".")[2] for name, module in linear if not _is_plain(module)} - {"lm_head"}


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def _is_plain(module: Any) -> bool:
    """Whether a linear layer gives a product and nothing else. Some families have classes of their own for it."""
    import torch

    if not type(module).__module__.startswith("transformers.models."):
        return True
    try:
        with torch.no_grad():
            return isinstance(module(module.weight.new_zeros(1, module.in_features)), torch.Tensor)
    except (RuntimeError, TypeError):  # it takes no row of its width (DeepSeek V4's grouped layers)
        return False


def beside_the_text(model: Any) -> str | None:
    """For a language model inside another one (Gemma 3 from 4B on): a pattern of every module that is not its own, so
    that a vision tower with layers of the same names gets no adapters, which the export could not write."""
    if not any(name.rpartition(".")[2] == "language_model" for name, _ in model.named_modules()):
        return None
    return r"(?!.*\b(language_model|lm_head)\b).*"


_PACKED = r"(?:.*\.)?parametrizations\..*"
"""Modules that hold quantized experts (quantizers.py), under the names of their weights, which layers have too."""


def never_adapted(model: Any, given: Any) -> Any:
    """PEFT's `exclude_modules`: those that are given, and quantized experts."""
    packed = [name for name, _ in model.named_modules() if re.fullmatch(_PACKED, name)]
    if given and not isinstance(given, str):
        return [*given, *packed]
    patterns = [given, _PACKED if packed else None]
    return "|".join(f"(?:{pattern})" for pattern in patterns if pattern) or None


def targets_of(spec: JobSpec, model: Any) -> str | list[str]:
    """What `lora.target_modules` means for this model, as PEFT takes it. Raises SpecInvalid if `auto` finds nothing.

    `all-linear` means the layers that PEFT takes as layers. Experts are one tensor each in transformers 5, and for some
    families PEFT would put adapters on these tensors (`target_parameters`), which allow no dropout and cannot be merged
    here; of Mamba's layers it refuses those that its kernels compute with.
    """
    wanted = spec.lora.target_modules
    if wanted == "auto":
        found = attention_of(linear_names(model))
        if found is None:
            raise SpecInvalid(
                f"lora.target_modules: auto knows no layers of attention in {spec.model.id}",
                hint=f"Name some of its linear layers: {', '.join(trainable_names(model))}; all-linear selects them.",
            )
        log.info("lora.target_modules", targets=found)
        return found
    if not isinstance(wanted, str):
        return list(wanted)
    plain = all(_is_plain(module) for module in model.modules() if _is_linear(module))
    return wanted if plain and _are_layers(model, wanted) else trainable_names(model)


def trainable_names(model: Any) -> list[str]:
    """The names of the linear layers on which PEFT puts adapters."""
    return sorted(name for name in linear_names(model) if _are_layers(model, [name]))


def experts(model: Any) -> dict[str, Any]:
    """The weights of the language model's experts, by name: each is one tensor for all of them. Convolutions have three
    dimensions too."""
    from torch.nn.modules.conv import _ConvNd

    other = re.compile(beside_the_text(model) or r"$.")
    convolutions = {id(module.weight) for module in model.modules() if isinstance(module, _ConvNd)}
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight.ndim > 2 and "lora_" not in name and id(weight) not in convolutions and not other.fullmatch(name)
    }


def tell_without_adapters(model: Any) -> None:
    """Warns of experts that `all-linear` leaves as they are. `model`: with its adapters."""
    left = sum(weight.numel() for weight in experts(model).values())
    if left:
        what = f"experts, {left:,} parameters, get no adapters: they are no linear layers in transformers"
        log.warning("lora.not_adapted", what=what)


def _are_layers(model: Any, targets: str | list[str]) -> bool:
    """Whether PEFT takes all of these targets, and as layers (peft/utils/transformers_weight_conversion.py)."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
    from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers

    config = LoraConfig(target_modules=targets)
    try:
        for name in linear_names(model) if isinstance(targets, str) else targets:
            _check_lora_target_modules_mamba(config, model, name)
        convert_peft_config_for_transformers(config, model, None)
    except ValueError:
        return False
    return not config.target_parameters
