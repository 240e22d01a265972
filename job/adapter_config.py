"""What an adapter_config.json must say so that the adapter can be merged: known before anything is fetched.

Source: peft/tuners/lora/config.py, LoraConfig.
"""

from collections.abc import Mapping
from typing import Any

from job.errors import SpecInvalid

NAME = "adapter_config.json"

MERGED = frozenset((
    "r", "target_modules", "exclude_modules", "lora_alpha", "fan_in_fan_out", "bias", "use_rslora", "modules_to_save",
    "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "trainable_token_indices", "use_dora", "lora_bias", "ensure_weight_tying",
))  # fmt: skip
"""Fields that the merge follows, or that its tensors show."""

HARMLESS = frozenset((
    "task_type", "peft_type", "auto_mapping", "auto_map", "peft_version", "base_model_name_or_path", "revision",
    "inference_mode", "lora_dropout", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config",
    "velora_config", "qalora_group_size", "runtime_config",
))  # fmt: skip
"""Fields that say where an adapter comes from or how it was trained: they change nothing of what it does to a weight,
unless one that is refused is set too."""

CANNOT = {
    "target_parameters": "adapters on bare parameters (target_parameters)",
    "layer_replication": "replicated layers (layer_replication)",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "alora_invocation_tokens": "activated LoRA, which works only after its invocation tokens",
    "megatron_config": "Megatron's parallel layers",
}

_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""The values of init_lora_weights that do not change the base weights."""


def check_mergeable(config: Mapping[str, Any]) -> None:
    """Raises SpecInvalid for a kind of adapter that cannot be merged, or a setting that this job does not know."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise SpecInvalid(f"the adapter is of PEFT type {kind}; only LORA (with rsLoRA or DoRA) can be merged")
    for field, what in CANNOT.items():
        if config.get(field):
            raise SpecInvalid(f"the adapter uses {what}, which cannot be merged here")
    unknown = sorted(name for name, value in config.items() if value and name not in MERGED | HARMLESS | CANNOT.keys())
    if unknown:
        raise SpecInvalid(
            f"the adapter's config sets {', '.join(unknown[:5])}, which this job does not know",
            hint="It may change the merge: it was made with a newer PEFT. Merge it there and name the merged model.",
        )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise SpecInvalid(
            f"the adapter was started with init_lora_weights={start!r}, which changed the base weights",
            hint="Convert it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...) first.",
        )
