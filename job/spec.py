"""The job spec: the only definition of every option, its range and its default.

The defaults are those of a well-known QLoRA recipe for one T4, so a model and a data set are a whole
spec. Field names are those of transformers, peft, trl and bitsandbytes. `job/spec_file.py` reads a spec
from a file and the environment and turns faults into one message. Nothing here looks at the network; the
disk is asked only whether a relative path exists, where a name could be nothing else.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from job.spec_rules import cross_faults
from job.spec_types import (
    NUMBER,
    Count,
    DataId,
    FileName,
    FileSize,
    Folder,
    Fraction,
    From0,
    Imatrix,
    ModelId,
    Names,
    NonNegativeNumber,
    Place,
    PositiveNumber,
    QuantType,
    Rate,
    RepoId,
    Revision,
    RunId,
    S3Url,
    Section,
    Switch,
    Text,
    digits,
    each_once,
)


class Model(Section):
    """What is fine-tuned or quantized."""

    id: ModelId
    """A Hub id (`owner/name`, or `gpt2`), `s3://bucket/prefix`, or a folder: a path that starts with `.`, `/`
    or `~`, or has more than one `/` and exists."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub. It is resolved to its commit, and the commit is recorded."""
    adapter: ModelId | None = None
    """A LoRA adapter to start training from; with `training: null`, to merge and quantize."""


class Dataset(Section):
    """One set of rows."""

    id: DataId
    """A Hub id, `s3://…`, `https://…`, a folder or a file (as in `model.id`; a file is known by its ending:
    .jsonl, .json, .csv, .parquet, .txt, each also with .gz)."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub."""
    config: Text | None = None
    """The configuration's name, where a Hub data set has several."""
    split: Text = "train"
    """The split to train on."""
    eval_split: Text | None = None
    """A named split to evaluate on, instead of `eval_fraction` of the rows."""
    format: Literal["auto", "text", "prompt_completion", "messages", "alpaca", "sharegpt"] = "auto"
    """How a row is read. `auto` looks at the columns."""
    text: Text | None = None
    """The column of plain text. Unset: found by looking."""
    columns: dict[str, str] = {}
    """Renames: the name that a format expects -> the name that the data has."""
    limit: Count | None = None
    """Take at most so many rows."""
    weight: PositiveNumber = 1.0
    """With several sets: how often each row is taken (2 = twice, 0.5 = a seeded half)."""
    eval_fraction: Fraction = 0.02
    """The share of rows, chosen by the seed, that is held out for evaluation."""
    max_broken: Fraction = 0.01
    """Above this share of broken rows the run ends with exit code 65."""


class Chat(Section):
    """For base models without a chat template."""

    template: str | None = None
    """A Jinja chat template; it replaces the model's own, and goes into the GGUF."""
    system: str | None = None
    """A system prompt put before each conversation that has none."""


class Load(Section):
    """How the base model is loaded for training."""

    bits: Annotated[Literal[4, 8, 16, 32], BeforeValidator(digits)] = 4
    """4 and 8: bitsandbytes; 16: the compute dtype; 32: float32."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 4-bit type."""
    double_quant: bool = False
    """Quantize the quantization constants too: 0.4 bits per parameter less."""
    compute_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """auto: bfloat16 from compute capability 8.0 on, float16 below (a T4), float32 without a GPU."""


class Lora(Section):
    """The adapter."""

    r: Annotated[int, Field(gt=0, le=4096), NUMBER] = 8
    """Rank."""
    alpha: PositiveNumber = 32
    """The adapter is scaled by alpha / r (rsLoRA: alpha / sqrt(r))."""
    dropout: Fraction = 0.1
    """Dropout before the adapter."""
    target_modules: Literal["all-linear"] | Annotated[Names, Field(min_length=1)] = ["q_proj", "v_proj"]
    """Names of the linear layers that get an adapter, or `all-linear`."""
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
    """Tokens per row; what is longer is cut."""
    per_device_train_batch_size: Count = 4
    """Rows per forward pass."""
    per_device_eval_batch_size: Count = 4
    """Rows per forward pass in evaluation."""
    gradient_accumulation_steps: Count = 1
    """Forward passes per optimizer step."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass instead of keeping them."""
    learning_rate: Rate = 2.0e-4
    """The peak learning rate."""
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
    ] = "cosine"
    """The learning rate's course."""
    warmup_ratio: Fraction = 0.03
    """The share of the steps in which the learning rate rises."""
    weight_decay: NonNegativeNumber = 0.001
    """AdamW's weight decay."""
    max_grad_norm: NonNegativeNumber = 0.3
    """Gradients are clipped to this norm; 0: not clipped."""
    optim: Literal[
        "paged_adamw_8bit", "paged_adamw_32bit", "adamw_8bit", "adamw_torch", "adamw_torch_fused", "adafactor", "sgd"
    ] = "paged_adamw_8bit"
    """The optimizer. Without a GPU a paged or 8-bit one becomes adamw_torch, and an event says so."""
    group_by_length: bool = True
    """Batches of rows of like length: less padding."""
    packing: bool = False
    """Several rows in one sequence (trl only)."""
    fp16: Switch = "auto"
    """Mixed precision in float16. auto: on a GPU below compute capability 8.0."""
    bf16: Switch = "auto"
    """Mixed precision in bfloat16. auto: on a GPU from compute capability 8.0 on. Never below."""
    padding_side: Literal["right", "left"] = "right"
    """Where a shorter row is padded."""
    pad_token: Annotated[str, Field(min_length=1)] | None = None
    """The padding token. Unset: EOS, as in the recipe."""
    completion_only_loss: bool | None = None
    """Loss on the completion alone. Unset: for prompt/completion rows, yes (trl only)."""
    assistant_only_loss: bool | None = None
    """Loss on the assistant's turns alone. Unset: for chat rows whose template can mark them (trl only)."""
    logging_steps: Count = 25
    """A log line every so many steps."""
    eval_steps: Count | None = None
    """Evaluate every so many steps. Unset: at each checkpoint and at the end."""
    save_steps: Count = 100
    """A checkpoint every so many steps: what a killed node costs at most."""
    save_total_limit: Count = 2
    """How many checkpoints are kept."""
    load_best_model_at_end: bool = False
    """Take the checkpoint with the lowest held-out loss instead of the last one."""
    early_stopping_patience: Count | None = None
    """Stop after so many evaluations without a lower held-out loss."""
    report_to: Annotated[list[Literal["tensorboard"]], AfterValidator(each_once)] = ["tensorboard"]
    """tensorboard writes its event files into the run; an empty list writes none."""


class Export(Section):
    """Which GGUF files are made, and how."""

    types: Annotated[list[QuantType], AfterValidator(each_once)] = Field(
        default=["q4_k_m", "q5_k_m", "q8_0"], min_length=1
    )
    """llama.cpp's quantization types, in any case; f16, bf16 and f32 publish the unquantized file."""
    dtype: Literal["f16", "bf16", "f32"] = "f16"
    """The file that the others are quantized from."""
    merge_base: Literal["original", "quantized"] = "original"
    """What the adapter is merged into: the original weights, or what the 4-bit ones stand for."""
    imatrix: Imatrix = "auto"
    """auto: an importance matrix from the training rows where a type needs one; none; or a file."""
    adapter: bool = False
    """Publish the adapter as GGUF too (llama.cpp's --lora)."""
    merged: bool = False
    """Publish the merged model as safetensors too."""
    split_max_size: FileSize | None = None
    """Split each GGUF into files of at most this size, e.g. 4G."""


class Gate(Section):
    """From where on a result is too much worse to be published, beyond twice the reported standard error."""

    action: Literal["fail", "warn"] = "fail"
    """fail: nothing is published, exit code 81. warn: a line in the log."""
    max_tuned_ratio: PositiveNumber = 1.05
    """Perplexity of the tuned model over the base model's, on the held-out rows."""
    max_ratio: PositiveNumber | None = None
    """Perplexity of a quantized file over the unquantized one's. Unset: 1.3 from 4 bits per weight on, 3 from 3 bits,
    100 below."""
    max_kld: PositiveNumber | None = None
    """KL divergence from the unquantized file, in nats per token. Unset: 0.3, 1 and 10 for the same bits."""


class Evaluation(Section):
    """How the result is looked at."""

    judge: bool = True
    """Judge each file on the held-out rows: perplexity, KL divergence from the unquantized file, speed."""
    context: Count = 512
    """Tokens of context for perplexity."""
    max_tokens: Count = 32_768
    """Judge on at most so many tokens of the held-out rows."""
    threads: Annotated[list[Annotated[int, Field(gt=0, le=1024), NUMBER]], AfterValidator(each_once)] = Field(
        default=[4, 8], min_length=1
    )
    """Thread counts for the speed measurement."""
    samples: From0 = 3
    """Held-out prompts that the base and the tuned model answer."""
    max_new_tokens: Count = 64
    """Length of a sample."""
    gate: Gate = Gate()


class Hub(Section):
    """A repository on the Hugging Face Hub."""

    repo_id: RepoId
    """owner/name; it is created if it does not exist."""
    private: bool = True
    """Whether a new repository is private."""
    revision: Revision = "main"
    """The branch that gets the commit."""


class Publish(Section):
    """Where the finished files go, under people's names. Nothing set: the store's manifest is the result."""

    name: FileName | None = None
    """`<name>-Q4_K_M.gguf`. Unset: from the Hub repository or the model's id."""
    folder: Folder | None = None
    """A folder, e.g. on a mounted volume."""
    s3: S3Url | None = None
    """`s3://bucket/prefix`; the credentials come from the environment."""
    hub: Hub | None = None
    """Unset: nothing goes there."""


class Run(Section):
    """The run itself."""

    id: RunId | None = None
    """Unset: the Job's name, else the hash of the spec."""
    seed: Annotated[int, Field(ge=0, lt=2**32), NUMBER] = 42
    """For the split, the data's order, the adapter's start and dropout."""
    store: Place | None = None
    """s3://bucket/prefix or a folder that outlives the node. Unset: `store` in the work directory."""


class JobSpec(Section):
    """A whole run. `model` and `dataset` are enough."""

    model: Model
    dataset: Dataset | list[Dataset] | None = None
    """One set, or several with weights. Without training: for judging and the importance matrix."""
    chat: Chat = Chat()
    load: Load = Load()
    lora: Lora = Lora()
    training: Training | None = Training()
    """`null`: merge (with `model.adapter`) and quantize only."""
    export: Export = Export()
    evaluation: Evaluation = Evaluation()
    publish: Publish = Publish()
    run: Run = Run()

    @property
    def datasets(self) -> list[Dataset]:
        """The sets as a list, whichever way they were written."""
        if self.dataset is None:
            return []
        return self.dataset if isinstance(self.dataset, list) else [self.dataset]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        faults = tuple(cross_faults(self))
        if faults:
            text = "; ".join(f"{fault.paths[0]}: {fault.message}" for fault in faults)
            raise PydanticCustomError("parts_do_not_fit", "{text}", {"text": text, "faults": faults})
        return self
