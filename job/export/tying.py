"""Whether a model's input and output embedding are one tensor."""

from pathlib import Path
from typing import Any

from job.export.peft_adapter import INPUT

OUTPUT = ("lm_head.weight", "embed_out.weight")
"""How the names of output embeddings end."""
_ROWS = 1024
"""Rows of an embedding that are compared at a time."""


def says_tied(config: dict[str, Any]) -> bool:
    """Whether the config says so; by default it does."""
    text = config.get("text_config") or {}
    return bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", True)))


def are_apart(view: Path) -> bool:
    """Whether the files have an output embedding that differs from the input: transformers then loads both, whatever
    the config says (transformers/modeling_utils.py, `tie_weights`). `view`: the model's folder."""
    import torch

    tensors = sorted(_tensors(view), key=lambda one: -len(one[0]))  # of several, the model's own has the shortest name
    found = {end: tensor for name, tensor in tensors for end in (INPUT, OUTPUT) if name.endswith(end)}
    if len(found) < 2:
        return False
    one, other = found[INPUT], found[OUTPUT]
    if one.get_shape() != other.get_shape() or one.get_dtype() != other.get_dtype():
        return True
    starts = range(0, one.get_shape()[0], _ROWS)
    return not all(torch.equal(one[at : at + _ROWS], other[at : at + _ROWS]) for at in starts)


def _tensors(view: Path) -> list[tuple[str, Any]]:
    """Those that may be embeddings."""
    from safetensors import safe_open

    files: list[Any] = [safe_open(path, "pt") for path in sorted(view.glob("*.safetensors"))]
    return [(name, file.get_slice(name)) for file in files for name in file.keys() if name.endswith(INPUT + OUTPUT)]  # noqa: SIM118
