"""What transformers computes with a model, in float32, and in little memory: weights stay as they are in the files, and
are float32 only while they are computed with."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from job.architectures import auto_class
from job.spec.training import TILE_WORDS


def logarithms(view: Path, windows: list[list[int]], first: int) -> Iterator[Any]:
    """For each window the logarithms of its probabilities, from position `first` to the last but one: float32 of shape
    (positions, vocabulary)."""
    import torch

    model = auto_class(view).from_pretrained(
        view, dtype="auto", device_map={"": "cpu"}, use_safetensors=True, trust_remote_code=False
    )
    model.eval()
    _compute_in_float32(model)
    with torch.inference_mode():
        for window in windows:
            logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, first:-1].float()
            yield torch.log_softmax(logits, -1)


def _compute_in_float32(model: Any) -> None:
    """Each layer, and each module outside of the layers that has weights of its own, gets its weights as float32 when
    it is called, and the old ones back. Of the embeddings only what is looked up is widened, and the output layer, the
    largest of all, a tile at a time."""
    import torch

    layers = [one for module in model.modules() if isinstance(module, torch.nn.ModuleList) for one in module]
    inside = {id(part) for layer in layers for part in layer.modules()}
    rest = [one for one in model.modules() if id(one) not in inside and list(one.parameters(recurse=False))]
    head = model.get_output_embeddings()
    for module in [*layers, *rest]:
        if module is head:
            module.forward = partial(_in_tiles, module)
        elif isinstance(module, torch.nn.Embedding):
            module.register_forward_hook(lambda *called: called[-1].float())
        else:
            module.register_forward_pre_hook(_widen)
            module.register_forward_hook(_narrow, always_call=True)


def _in_tiles(head: Any, values: Any) -> Any:
    import torch

    values = values.float()  # Mamba 2 casts them to the dtype of these weights
    tiles = [values @ rows.float().T for rows in head.weight.split(TILE_WORDS)]
    return torch.cat(tiles, -1) + (0 if head.bias is None else head.bias.float())


def _widen(module: Any, _: Any) -> None:
    module.narrow_weights = {name: weight.data for name, weight in module.named_parameters()}
    for weight in module.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.float()


def _narrow(module: Any, *_: Any) -> None:
    for name, weight in module.named_parameters():
        weight.data = module.narrow_weights[name]
    del module.narrow_weights
