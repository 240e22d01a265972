"""A config as the converter knows it. The converter lets transformers read config.json, and transformers 5 gives some
of it other names than published models have, and adds its defaults."""

import re
from typing import Any

_LETTERS = {"linear_attention": "M", "mamba": "M", "full_attention": "*", "attention": "*", "moe": "E", "mlp": "-"}
_OF_EXPERTS = re.compile(r".*expert.*|moe_.*|n_group|topk_group|norm_topk_prob")


def as_published(architecture: str, config: dict[str, Any]) -> dict[str, Any]:
    """The config of a model with the names and fields that published models of its architecture have."""
    if architecture == "GraniteMoeHybridForCausalLM" and config.get("layer_types"):
        kinds = ["attention" if kind == "full_attention" else kind for kind in config["layer_types"]]
        return config | {"layer_types": kinds}
    if architecture == "NemotronHForCausalLM" and config.get("layers_block_type"):
        pattern = "".join(_LETTERS.get(kind, "?") for kind in config["layers_block_type"])
        # transformers gives every model sizes of experts, by which the converter tells those that have some
        dense = {name: value for name, value in config.items() if not _OF_EXPERTS.fullmatch(name)}
        return (config if "E" in pattern else dense) | {"hybrid_override_pattern": pattern}
    if architecture == "GPTNeoXForCausalLM" and "rotary_pct" not in config:
        return config | {"rotary_pct": (config.get("rope_parameters") or {}).get("partial_rotary_factor", 1.0)}
    return config
