"""The recipe as plain scripts, the way a user without this project would write them. They share nothing with job/."""

from pathlib import Path
from typing import Any

RECIPE = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 4,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.15,
    "weight_decay": 0.001,
    "max_grad_norm": 0.3,
    "optim": "adamw_torch",
    "train_sampling_strategy": "group_by_length",
    "activation_checkpointing": True,
    "activation_checkpointing_kwargs": {"use_reentrant": False},
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "use_cpu": True,
    "fp16": False,
    "bf16": False,
    "seed": 42,
}


def load(
    folder: Path, *, dtype: Any = None, device: int | str = "cpu", dropout: float = 0.1, cast: bool = True
) -> tuple[Any, Any]:
    """Llama in NF4 with LoRA on q_proj and v_proj; pad = EOS. `dtype`: what it computes in (default: float32). `cast`:
    all else to float32."""
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, set_seed

    set_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    dtype = dtype or torch.float32
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=nf4, dtype=dtype, device_map={"": device})
    model.config.use_cache = False
    if cast:
        model = prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    lora = LoraConfig(
        r=8,
        lora_alpha=32,
        lora_dropout=dropout,
        target_modules=["q_proj", "v_proj"],
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora), tokenizer


def with_transformers(
    folder: Path, rows: Path, out: Path, *, dtype: Any = None, cast: bool = True, **changes: Any
) -> list[float]:
    """transformers.Trainer with DataCollatorForLanguageModeling(mlm=False). Gives the loss of each step."""
    from datasets import load_dataset
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    model, tokenizer = load(folder, dtype=dtype, cast=cast)
    data = load_dataset("json", data_files=str(rows), split="train", cache_dir=str(out / "cache"))
    data = data.map(lambda row: tokenizer(row["text"], truncation=True, max_length=48), remove_columns=["text"])
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(out), **RECIPE | changes),
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def with_trl(
    folder: Path, rows: Path, out: Path, *, dtype: Any = None, dropout: float = 0.1, cast: bool = True, **changes: Any
) -> list[float]:
    """trl.SFTTrainer, with the adapters in float32. Gives the loss of each step."""
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load(folder, dtype=dtype, dropout=dropout, cast=cast)
    float32 = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    data = load_dataset("json", data_files=str(rows), split="train", cache_dir=str(out / "cache"))
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(out), max_length=48, **RECIPE | changes),
        train_dataset=data,
        processing_class=tokenizer,
    )
    for name, weight in model.named_parameters():
        if name in float32:
            weight.data = float32[name]
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
