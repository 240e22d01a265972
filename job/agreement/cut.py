"""A model's first layers, as a model of its own: enough of them that each kind of layer is there."""

import re
from collections.abc import Callable
from typing import Any

from job.tensor_names import layer_of

LEAST = 4
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers")
_BESIDE = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
"""Layers after the last, which only predict further ahead."""
_EVERY = re.compile(r"pattern|interval|_step$|_period|frequency|first_k_dense|num_dense_layers|layer_start_index")


def cut(config: dict[str, Any]) -> tuple[dict[str, Any], int] | None:
    """The config of the first layers, and their number; None for a model whose layers cannot be counted or whose last
    ones compute with what earlier ones leave (Gemma 3n)."""
    text = config.get("text_config") or config
    count = next((name for name in _COUNTS if isinstance(text.get(name), int)), None)
    if count is None or text.get("num_kv_shared_layers"):
        return None
    total = text[count]
    kept = min(total, max([LEAST, *_periods(text, total)]))
    changed = {name: value[:kept] for name, value in text.items() if _is_by_layer(value, total)}
    changed |= {name: 0 for name in _BESIDE if name in text} | {count: kept}
    text = text | changed
    return (config | {"text_config": text} if config.get("text_config") else text), kept


def keeps(kept: int) -> Callable[[str], bool]:
    """Whether a tensor of this name is one of the cut model's."""

    def keep(name: str) -> bool:
        found = layer_of(name)
        return found is None or found[0] < kept

    return keep


def _is_by_layer(value: Any, total: int) -> bool:
    return isinstance(value, list | str) and len(value) == total


def _periods(text: dict[str, Any], total: int) -> list[int]:
    """How many layers it takes until each kind of layer has come, by each field of the config."""
    found = []
    for name, value in text.items():
        if _is_by_layer(value, total) and isinstance(value, list):
            kinds = [repr(one) for one in value]
            found.append(1 + max(kinds.index(kind) for kind in set(kinds)))
        elif isinstance(value, int) and _EVERY.search(name):
            found.append(value + 1)
    return found
