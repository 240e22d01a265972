"""The spec's sections of training: how the base is loaded, the adapter, the trainer's options."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from job.spec.types import (
    NUMBER,
    Count,
    Fraction,
    Names,
    NonNegativeNumber,
    PositiveNumber,
    Rate,
    Section,
    Switch,
    digits,
    each_once,
)

TILE_TOKENS, TILE_WORDS = 2048, 8192
"""Not options: TRL computes the loss in tiles of this many tokens by this many entries of the vocabulary.
job/train/numerics.py sets this size, and job/predict/activations.py counts it."""

CLAMPED = ("prediction_coefs", "correction_coefs")
"""Not an option: layers that `bits` 4 and 8 leave as they are, since Gemma 3n clamps their weights while it trains."""

Tracker = Literal[
    "tensorboard", "wandb", "mlflow", "comet_ml", "clearml", "trackio", "swanlab", "neptune", "dvclive", "codecarbon"
]
"""Where transformers can report to. Each name is also that of the Python package."""


class Load(Section):
    """How the base model is loaded for training."""

    bits: Annotated[Literal[4, 8, 16, 32], BeforeValidator(digits)] = 4
    """4 and 8: bitsandbytes; 16: the compute dtype; 32: float32. A mixture's experts can be loaded in 4 bits, not in
    8."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 4-bit type."""
    double_quant: bool = False
    """Quantize the quantization constants too, which saves 0.4 bits per parameter."""
    compute_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """auto: bfloat16 for compute capability 8.0 or higher, float16 below (a T4), float32 without a GPU, and below 8.0
    for families that overflow in float16."""
    frozen_dtype: Literal["auto", "float32", "compute"] = "auto"
    """The frozen weights that `bits` 4 and 8 do not quantize: embeddings, norms, output layer. float32: as
    prepare_model_for_kbit_training casts them. compute: in the compute dtype, which is faster and takes less memory.
    auto: compute on a GPU, but in float16 only for families that are known to fit; float32 without a GPU."""


ATTENTION = (
    ("q_proj", "v_proj"), ("qkv_proj",), ("query_key_value",), ("c_attn",), ("q_proj", "kv_b_proj"),
    ("q_b_proj", "kv_b_proj"),
)  # fmt: skip
"""Layers that make queries and values, in the order in which they are looked for: apart, fused, and of latent
attention."""


def attention_of(linear: Collection[str]) -> list[str] | None:
    """What `target_modules: auto` takes of a model with these linear layers."""
    return next((list(names) for names in ATTENTION if all(name in linear for name in names)), None)


class Lora(Section):
    """The LoRA adapter."""

    r: Annotated[int, Field(gt=0, le=4096), NUMBER] = 8
    """Rank."""
    alpha: PositiveNumber = 32
    """The adapter is scaled by alpha / r (rsLoRA: alpha / sqrt(r))."""
    dropout: Fraction = 0.1
    """Dropout on the adapter's input."""
    target_modules: Literal["auto", "all-linear"] | Annotated[Names, Field(min_length=1)] = "auto"
    """Names of the linear layers that get an adapter, or `all-linear`. auto: q_proj and v_proj, the recipe's; where a
    family has none, its layers of the same meaning (Phi's qkv_proj)."""
    use_rslora: bool = False
    """Rank-stabilized scaling (arXiv:2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed LoRA (arXiv:2402.09353)."""
    modules_to_save: Names = []
    """Modules trained whole and saved with the adapter, e.g. embed_tokens and lm_head."""


class Training(Section):
    """What transformers.TrainingArguments and trl.SFTConfig take, under the names that users know."""

    trainer: Literal["trl", "transformers"] = "trl"
    """trl: SFTTrainer, which appends EOS and trains it. transformers: Trainer with
    DataCollatorForLanguageModeling(mlm=False), which masks padding, and with it EOS where pad is EOS."""
    num_train_epochs: PositiveNumber = 1
    """Passes over the data."""
    max_steps: Annotated[int, Field(ge=-1, lt=2**31), NUMBER] = -1
    """Optimizer steps; above 0 it overrides num_train_epochs."""
    max_length: Count = 1024
    """Tokens per row; longer rows are cut."""
    per_device_train_batch_size: Count = 4
    """Rows per forward pass. With packing, one packed row at a time, and so many of them per optimizer step."""
    per_device_eval_batch_size: Count = 4
    """Rows per forward pass in evaluation."""
    gradient_accumulation_steps: Count = 1
    """Forward passes per optimizer step."""
    gradient_checkpointing: Switch = "auto"
    """Recompute activations in the backward pass instead of keeping them in memory. auto: as few as the GPU's memory
    allows, by the longest row; all of them without a GPU. It changes no result."""
    attn_implementation: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """How attention is computed. auto: what transformers takes for the model. flash_attention_2 needs its package and a
    GPU of compute capability 8.0 or higher."""
    learning_rate: Rate = 2.0e-4
    """The peak learning rate."""
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = "cosine"
    """Learning-rate schedule."""
    warmup_ratio: Fraction = 0.03
    """Share of the steps used for warm-up."""
    weight_decay: NonNegativeNumber = 0.001
    """AdamW's weight decay."""
    max_grad_norm: NonNegativeNumber = 0.3
    """Clip gradients to this norm; 0: do not clip."""
    optim: Literal[
        "paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit", "adamw_torch", "adamw_torch_fused", "adafactor", "sgd"
    ] = "paged_adamw_8bit"
    """The optimizer. Without a GPU, adamw_torch replaces a paged or 8-bit one, and an event reports it."""
    group_by_length: bool = True
    """Batch rows of similar length together, which needs less padding."""
    packing: bool = False
    """Pack several rows into one sequence (trl only)."""
    fp16: Switch = "auto"
    """Mixed precision in float16. auto: on for a GPU below compute capability 8.0, unless the family overflows."""
    bf16: Switch = "auto"
    """Mixed precision in bfloat16. auto: on for a GPU of compute capability 8.0 or higher. Off below that."""
    padding_side: Literal["right", "left"] = "right"
    """The side on which shorter rows are padded."""
    pad_token: Annotated[str, Field(min_length=1)] | None = None
    """The padding token. Unset: EOS, as in the recipe."""
    completion_only_loss: bool | None = None
    """Compute the loss on the completion only. Unset: true for prompt/completion rows (trl only)."""
    assistant_only_loss: bool | None = None
    """Compute the loss on the assistant's turns only. Unset: true for chat rows whose template can mark them (trl
    only)."""
    logging_steps: Count = 25
    """Log every N steps."""
    eval_steps: Count | None = None
    """Evaluate every N steps. Unset: at each checkpoint and at the end."""
    save_steps: Count = 100
    """Save a checkpoint every N steps. A run whose node is lost repeats at most this many, and those made during an
    upload."""
    save_total_limit: Count = 2
    """Number of checkpoints to keep."""
    load_best_model_at_end: bool = False
    """Use the checkpoint with the lowest held-out loss instead of the last one."""
    early_stopping_patience: Count | None = None
    """Stop after N evaluations without a lower held-out loss."""
    report_to: Annotated[list[Tracker], AfterValidator(each_once)] = ["tensorboard"]
    """Where to report metrics. tensorboard writes its event files into the run; the others need their Python package
    and their own settings in the environment. An empty list: nowhere."""

    @property
    def attention(self) -> str | None:
        """As transformers takes it; None: what it takes for the model."""
        return None if self.attn_implementation == "auto" else self.attn_implementation

    @property
    def micro_batch(self) -> int:
        """Rows in one forward pass. TRL joins packed rows into one, whose attention takes the square of its length."""
        return 1 if self.packing else self.per_device_train_batch_size

    @property
    def accumulation(self) -> int:
        """Forward passes per optimizer step, those of a packed batch included."""
        return self.gradient_accumulation_steps * (self.per_device_train_batch_size // self.micro_batch)
