"""What the names of a model's tensors say."""

import re

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.(.+)")
_TOWER = re.compile(r"vision|visual|audio")


def layer_of(name: str) -> tuple[int, str] | None:
    """The number of the language model's layer that a tensor belongs to, and its name in it; None for one beside its
    layers, or of a tower for pictures and sound."""
    found = None if is_of_a_tower(name) else _LAYER.search(name)
    return (int(found[1]), found[2]) if found else None


def is_of_a_tower(name: str) -> bool:
    """Whether a tensor is of a tower for pictures and sound."""
    return bool(_TOWER.search(name))
