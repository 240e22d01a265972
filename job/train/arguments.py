"""The spec's training section as transformers.TrainingArguments and trl.SFTConfig.

The only module that knows what the libraries renamed since the recipe was written: transformers 5 calls
`group_by_length` `train_sampling_strategy="group_by_length"`, takes a warm-up ratio as `warmup_steps`
below 1, and calls gradient checkpointing activation checkpointing.
"""

from pathlib import Path
from typing import Any

from job.logs import log
from job.spec import JobSpec
from job.train.precision import Precision

_NEEDS_GPU = {"paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit"}


def common(
    spec: JobSpec, precision: Precision, folder: Path, *, evaluates: bool, micro_batch: int | None, recompute_every: int
) -> dict[str, Any]:
    """The arguments of both trainers. `micro_batch` replaces the batch size; accumulation makes up for it.
    `recompute_every`: each n-th block of the model recomputes its activations; 0: none does."""
    training = spec.training
    assert training
    batch = micro_batch or training.micro_batch
    accumulation = training.gradient_accumulation_steps * (training.per_device_train_batch_size // batch)
    recompute = {"use_reentrant": False, "every_n_layers": recompute_every}
    best = training.load_best_model_at_end
    return {
        "output_dir": str(folder),
        "num_train_epochs": training.num_train_epochs,
        "max_steps": training.max_steps if training.max_steps > 0 else -1,
        "per_device_train_batch_size": batch,
        "per_device_eval_batch_size": training.per_device_eval_batch_size,
        "gradient_accumulation_steps": accumulation,
        "activation_checkpointing": recompute_every > 0,
        "activation_checkpointing_kwargs": recompute if recompute_every else None,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": training.lr_scheduler_type,
        "warmup_steps": training.warmup_ratio,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": optimizer(spec, precision),
        "train_sampling_strategy": "group_by_length" if training.group_by_length else "random",
        "fp16": precision.fp16,
        "bf16": precision.bf16,
        "use_cpu": not precision.cuda,
        "dataloader_pin_memory": precision.cuda,
        "seed": spec.run.seed,
        "report_to": list(training.report_to) or "none",
        "logging_steps": 1,  # every loss is recorded; logging_steps of the spec selects those that become events
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "save_strategy": "steps",
        "save_steps": training.save_steps,
        "save_total_limit": training.save_total_limit + 1,  # one more, for the upload that may be under way
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": (training.eval_steps or training.save_steps) if evaluates else None,
        "load_best_model_at_end": best,
        "metric_for_best_model": "eval_loss" if best or training.early_stopping_patience else None,
        "greater_is_better": False if best or training.early_stopping_patience else None,
    }


def for_trl(spec: JobSpec, config: Any) -> dict[str, Any]:
    """The further arguments of SFTConfig for a model with this config. The rows come with their ids and labels; only
    packing is left to do."""
    assert spec.training
    return _router_loss(config) | {
        "max_length": spec.training.max_length,
        "packing": spec.training.packing,
        "eval_packing": False,
        "dataset_kwargs": None if spec.training.packing else {"skip_prepare_dataset": True},
    }


def _router_loss(config: Any) -> dict[str, Any]:
    """TRL adds a router's balancing loss, for which it asks the config for `num_experts` (trl/trainer/utils.py,
    `patch_fused_lm_head`); Granite's mixtures and Phi-3.5-MoE give the number another name, and training would fail
    at its first loss. The router itself gets no adapter."""
    text = config.get_text_config()
    if not hasattr(text, "output_router_logits") or hasattr(text, "num_experts"):
        return {}
    log.warning("train.no_router_loss", what=f"TRL cannot compute the balancing loss of experts for {text.model_type}")
    return {"router_aux_loss_coef": 0.0}


def optimizer(spec: JobSpec, precision: Precision) -> str:
    """The optimizer's name. Without a GPU, AdamW replaces those of bitsandbytes."""
    assert spec.training
    wanted = spec.training.optim
    if precision.cuda or wanted not in _NEEDS_GPU:
        return wanted
    log.warning("train.optimizer_fallback", wanted=wanted, used="adamw_torch", why="it needs a GPU")
    return "adamw_torch"
