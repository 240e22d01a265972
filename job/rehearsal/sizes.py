"""The sizes of a model as transformers builds it: what its class makes of the files' tensors."""

from typing import Any

from job.errors import SpecInvalid
from job.predict.anatomy import anatomy_of
from job.predict.counted import BUILT, Counted, counted
from job.safetensors_files import Tensor


def sizes_of_built(model: Any, config: dict[str, Any], name: str) -> Counted | None:
    """Of a model on the meta device; None for families that have formulas."""
    import torch
    from transformers.pytorch_utils import Conv1D

    try:
        anatomy_of(config, name)
    except SpecInvalid:
        pass
    else:
        return None
    tensors = {key: Tensor("BF16", tuple(weight.shape)) for key, weight in model.named_parameters()}
    linear = {f"{key}.weight" for key, one in model.named_modules() if isinstance(one, torch.nn.Linear | Conv1D)}
    is_eager = model.config.get_text_config()._attn_implementation == "eager"
    try:
        return counted(tensors, config, name, BUILT, linear=linear, is_eager=is_eager)
    except SpecInvalid:
        return None
