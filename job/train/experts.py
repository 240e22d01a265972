"""Experts that `load.bits: 4` quantized (quantizers.py): they are dequantized whenever a layer computes with them, and
dropped again."""

from functools import partial
from typing import Any


def quantized(model: Any) -> dict[str, Any]:
    """Modules with quantized experts, by name."""
    from bitsandbytes.nn.parametrize import Bnb4bitParametrization

    return {
        name: module
        for name, module in model.named_modules()
        if any(isinstance(one, Bnb4bitParametrization) for of in _parametrizations(module) for one in of)
    }


def _parametrizations(module: Any) -> list[Any]:
    return list(getattr(module, "parametrizations", {}).values())


def parameters_in_bytes(model: Any) -> int:
    """How many parameters of quantized experts `numel` does not count: a byte holds two."""
    return sum(of.original.numel() for module in quantized(model).values() for of in _parametrizations(module))


def recompute(model: Any) -> None:
    """Makes quantized experts be dequantized again for the backward pass. Otherwise those of all layers are kept until
    then, unless the layers recompute their activations themselves."""
    from torch.utils.checkpoint import checkpoint

    for module in quantized(model).values():
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
