"""The job spec: the only definition of every option, its range and its default.

The defaults are those of a well-known QLoRA recipe for one T4, so a model and a data set are a whole
spec. Field names are those of transformers, peft, trl and bitsandbytes. `job/spec_file.py` reads a spec
from a file and the environment and turns faults into one message. Nothing here looks at the network; the
disk is asked only whether a relative path exists, where a name could be nothing else.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from job.quants import ALIASES, EVERY_TYPE, NEEDS_IMATRIX

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt")
_HUB_ID = re.compile(r"(?=.{1,96}\Z)(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_Item = TypeVar("_Item")


def _number(value: Any) -> Any:
    """YAML's `true` would count as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("switch_for_number", "true and false are no numbers")
    return value


def _digits(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 4 else value


def _quant_type(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = value.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in EVERY_TYPE:
        alike = [known for known in EVERY_TYPE if known.startswith(name[:2])] or EVERY_TYPE
        near = difflib.get_close_matches(name[:20], alike, n=4, cutoff=0.5)
        guess = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise ValueError(f"llama.cpp has no such type{guess} It has: {', '.join(EVERY_TYPE)}")
    return name


def _each_once(values: list[_Item]) -> list[_Item]:
    return list(dict.fromkeys(values))


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it has control characters; write it without")
    if value != value.strip():
        raise ValueError("it starts or ends with white space; write it without")
    return value


def _s3_url(value: str) -> str:
    if not re.match(r"s3://[^/]", value):
        raise ValueError("no bucket is named; write s3://bucket/prefix")
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?", value):
        raise ValueError(
            "not an S3 address; write s3://bucket/prefix (a bucket: 3 to 63 of a-z, 0-9, dot and dash; "
            "a prefix: no blanks, no ? and #)"
        )
    if ".." in value.split("/"):
        raise ValueError("`..` means nothing in S3; write the prefix itself")
    return value.rstrip("/")


def _hub_id(value: str) -> str:
    """Hugging Face's own rule for repository names (huggingface_hub.utils.validate_repo_id)."""
    bare = value.removesuffix(".git")
    if not _HUB_ID.fullmatch(value) or bare != value or re.search(r"--|\.\.|[.-]\Z|[.-]/", value):
        raise ValueError(
            "not a name that the Hub allows; write owner/name (a-z, A-Z, 0-9, dash, underscore, dot; no `--`, no `..`, "
            "at most 96 characters)"
        )
    return value


def _repo_id(value: str) -> str:
    if "/" not in value:
        raise ValueError("the owner is missing; write owner/name")
    return _hub_id(value)


def _is_folder(value: str) -> bool:
    return value.startswith((".", "/", "~"))


def _place(value: str) -> str:
    """A folder or an S3 prefix."""
    if value.startswith("s3:"):
        return _s3_url(value)
    if "://" in value:
        raise ValueError("neither a folder nor S3; write a path, or s3://bucket/prefix")
    return value


def _folder(value: str) -> str:
    if "://" in value:
        raise ValueError("not a folder; write a path (for S3: publish.s3, for the Hub: publish.hub)")
    return value


def _hub_page(value: str) -> str | None:
    """The repository whose web page this is."""
    found = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([^/]+/[^/?#]+)", value)
    return found[1] if found and "/resolve/" not in value else None


def _model_id(value: str) -> str:
    if value.startswith("s3:"):
        return _s3_url(value)
    if "://" in value:
        page = _hub_page(value)
        name = page if page and _HUB_ID.fullmatch(page) else "owner/name"
        raise ValueError(f"models come from the Hub, S3 or a folder; write {name}, s3://bucket/prefix or a path")
    if _is_folder(value) or (value.count("/") > 1 and Path(value).exists()):
        return value
    if value.count("/") > 1:
        raise ValueError("neither a Hub id nor a folder that exists; write owner/name, or a path that starts with ./")
    return _hub_id(value)


def _data_id(value: str) -> str:
    if value.startswith(("https://", "http://")):
        return _data_url(value)
    if value.removesuffix(".gz").endswith(DATA_SUFFIXES) and "://" not in value:
        return value
    if "://" in value and not value.startswith("s3:"):
        raise ValueError("data comes from the Hub, S3, https or a path; write owner/name, s3://…, https://… or a path")
    return _model_id(value)


def _data_url(value: str) -> str:
    page = _hub_page(value)
    if page:
        name = page if _HUB_ID.fullmatch(page) else "owner/name"
        raise ValueError(f"a web page, not a file; write {name}")
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise ValueError("no host is named; write https://host/file.jsonl")
    if value.startswith("http://") and not _is_loopback(host):
        raise ValueError("anyone on the way could change what comes over http; write https://")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _revision(value: str) -> str:
    if not re.fullmatch(r"(?![-/.])[^\s~^:?*\[\\]+(?<![/.])", value) or ".." in value:
        raise ValueError("not a name that git allows; write a branch, a tag or a commit")
    return value


def _imatrix(value: str) -> str:
    if "://" in value:
        raise ValueError("not a path; write auto, none, or the path of a file")
    if value not in ("auto", "none") and not re.search(r"[./]", value):
        near = difflib.get_close_matches(value.lower()[:20], ("auto", "none"), cutoff=0.5)
        raise ValueError(f"{f'did you mean {near[0]}? W' if near else 'w'}rite auto, none, or the path of a file")
    return value


def _size(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}[MG]", value):
        found = re.match(r"([1-9][0-9]{0,6})\s*([mg])", value.lower())
        guess = f"did you mean {found[1]}{found[2].upper()}? W" if found else "w"
        raise ValueError(f"{guess}rite a whole number and M or G, e.g. 4G")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}", value):
        raise ValueError("not a file name for every system; write up to 81 of a-z, A-Z, 0-9, dash, underscore and dot")
    return value


def _run_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", value):
        raise ValueError("not a name for Kubernetes; write up to 63 of a-z, 0-9, dash and dot, a letter or digit first")
    return value


# Always last: a range that follows it is lost in the JSON Schema.
_NUMBER = BeforeValidator(_number)
Count = Annotated[int, Field(gt=0, lt=2**31), _NUMBER]
From0 = Annotated[int, Field(ge=0, lt=2**31), _NUMBER]
Fraction = Annotated[float, Field(ge=0, lt=1), _NUMBER]
Rate = Annotated[float, Field(gt=0, le=1), _NUMBER]
PositiveNumber = Annotated[float, Field(gt=0), _NUMBER]
NonNegativeNumber = Annotated[float, Field(ge=0), _NUMBER]
Switch = Literal["auto"] | bool
Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Names = Annotated[list[Text], AfterValidator(_each_once)]
TYPE_NAMES = (*EVERY_TYPE, *ALIASES)
QuantType = Annotated[
    str,
    BeforeValidator(_quant_type),
    # JSON Schema cannot say "in any case", so both cases are listed.
    WithJsonSchema({"type": "string", "enum": [*TYPE_NAMES, *(name.upper() for name in TYPE_NAMES)]}),
]
S3Url = Annotated[Text, AfterValidator(_s3_url), Field(json_schema_extra={"pattern": "^s3://."})]
Place = Annotated[Text, AfterValidator(_place)]
Folder = Annotated[Text, AfterValidator(_folder)]
ModelId = Annotated[Text, AfterValidator(_model_id)]
DataId = Annotated[Text, AfterValidator(_data_id)]
Revision = Annotated[Text, AfterValidator(_revision)]
RepoId = Annotated[
    Text,
    AfterValidator(_repo_id),
    Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$"}),
]
FileName = Annotated[
    Text, AfterValidator(_name), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}$"})
]
FileSize = Annotated[Text, AfterValidator(_size), Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,6}[MG]$"})]
RunId = Annotated[
    Text, AfterValidator(_run_id), Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"})
]


class Section(BaseModel):
    """A part of the spec: frozen, and what it does not know is a fault."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
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

    bits: Annotated[Literal[4, 8, 16, 32], BeforeValidator(_digits)] = 4
    """4 and 8: bitsandbytes; 16: the compute dtype; 32: float32."""
    quant_type: Literal["nf4", "fp4"] = "nf4"
    """The 4-bit type."""
    double_quant: bool = False
    """Quantize the quantization constants too: 0.4 bits per parameter less."""
    compute_dtype: Literal["auto", "float16", "bfloat16", "float32"] = "auto"
    """auto: bfloat16 from compute capability 8.0 on, float16 below (a T4), float32 without a GPU."""


class Lora(Section):
    """The adapter."""

    r: Annotated[int, Field(gt=0, le=4096), _NUMBER] = 8
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
    max_steps: Annotated[int, Field(ge=-1, lt=2**31), _NUMBER] = -1
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
    report_to: Annotated[list[Literal["tensorboard"]], AfterValidator(_each_once)] = ["tensorboard"]
    """tensorboard writes its event files into the run; an empty list writes none."""


class Export(Section):
    """Which GGUF files are made, and how."""

    types: Annotated[list[QuantType], AfterValidator(_each_once)] = Field(
        default=["q4_k_m", "q5_k_m", "q8_0"], min_length=1
    )
    """llama.cpp's quantization types, in any case; f16, bf16 and f32 publish the unquantized file."""
    dtype: Literal["f16", "bf16", "f32"] = "f16"
    """The file that the others are quantized from."""
    merge_base: Literal["original", "quantized"] = "original"
    """What the adapter is merged into: the original weights, or what the 4-bit ones stand for."""
    imatrix: Annotated[Text, AfterValidator(_imatrix)] = "auto"
    """auto: an importance matrix from the training rows where a type needs one; none; or a file."""
    adapter: bool = False
    """Publish the adapter as GGUF too (llama.cpp's --lora)."""
    merged: bool = False
    """Publish the merged model as safetensors too."""
    split_max_size: FileSize | None = None
    """Split each GGUF into files of at most this size, e.g. 4G."""


class Evaluation(Section):
    """How the result is looked at."""

    context: Count = 512
    """Tokens of context for perplexity."""
    threads: Annotated[list[Annotated[int, Field(gt=0, le=1024), _NUMBER]], AfterValidator(_each_once)] = Field(
        default=[4, 8], min_length=1
    )
    """Thread counts for the speed measurement."""
    samples: From0 = 3
    """Held-out prompts that the base and the tuned model answer."""
    max_new_tokens: Count = 64
    """Length of a sample."""


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
    seed: Annotated[int, Field(ge=0, lt=2**32), _NUMBER] = 42
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


class CrossFault(NamedTuple):
    """What only several fields together can show. The first path is where to mend it."""

    paths: tuple[str, ...]
    message: str


def cross_faults(spec: JobSpec) -> Iterator[CrossFault]:
    """Every fault that a spec of valid fields has."""
    if spec.training is not None:
        yield from _training_faults(spec, spec.training)
    yield from _data_faults(spec)
    yield from _lora_faults(spec)
    yield from _export_faults(spec)


def _training_faults(spec: JobSpec, training: Training) -> Iterator[CrossFault]:
    if not spec.datasets:
        message = "training needs a data set; name one, or write `training: null` to only merge and quantize"
        yield CrossFault(("dataset", "training"), message)
    if training.fp16 is True and training.bf16 is True:
        yield CrossFault(("training.fp16", "training.bf16"), "training.bf16 is true too; write auto, or one of the two")
    if training.trainer == "transformers":
        for name in ("packing", "completion_only_loss", "assistant_only_loss"):
            if getattr(training, name):
                paths = (f"training.{name}", "training.trainer")
                yield CrossFault(paths, "only `trainer: trl` can do this; write false, or take trl")
    for name in ("early_stopping_patience", "load_best_model_at_end"):
        held_out = any(data.eval_split or data.eval_fraction for data in spec.datasets)
        if getattr(training, name) and spec.datasets and not held_out:
            message = "needs held-out rows; write dataset.eval_fraction above 0, or dataset.eval_split"
            yield CrossFault((f"training.{name}", "dataset.eval_fraction", "dataset.eval_split"), message)
    if training.load_best_model_at_end and training.eval_steps and training.save_steps % training.eval_steps:
        message = f"a best checkpoint must have been evaluated; write a multiple of eval_steps ({training.eval_steps})"
        yield CrossFault(("training.save_steps", "training.eval_steps", "training.load_best_model_at_end"), message)


def _data_faults(spec: JobSpec) -> Iterator[CrossFault]:
    for number, data in enumerate(spec.datasets):
        place = f"dataset.{number}" if isinstance(spec.dataset, list) else "dataset"
        if data.eval_split == data.split:
            message = "these are the rows to train on; name another split, or leave it out for eval_fraction"
            yield CrossFault((f"{place}.eval_split", f"{place}.split"), message)
        if data.text is not None and data.format not in ("auto", "text"):
            message = f"format {data.format} has no text column; leave it out, or write `format: text`"
            yield CrossFault((f"{place}.text", f"{place}.format"), message)
        for name in ("completion_only_loss", "assistant_only_loss"):
            if data.format == "text" and spec.training and getattr(spec.training, name):
                message = f"the rows of {place} are plain text without a part to leave out; write false"
                yield CrossFault((f"training.{name}", f"{place}.format"), message)


def _lora_faults(spec: JobSpec) -> Iterator[CrossFault]:
    both = sorted(set(spec.lora.modules_to_save) & set(spec.lora.target_modules))
    if both and spec.lora.target_modules != "all-linear":
        message = f"{', '.join(both)}: in target_modules too; name a module in one of the two"
        yield CrossFault(("lora.modules_to_save", "lora.target_modules"), message)


def _export_faults(spec: JobSpec) -> Iterator[CrossFault]:
    export = spec.export
    if export.adapter and spec.training is None and spec.model.adapter is None:
        message = "without training or model.adapter there is no adapter; write false, or name model.adapter"
        yield CrossFault(("export.adapter", "training", "model.adapter"), message)
    if export.adapter and (spec.lora.use_dora or spec.lora.modules_to_save):
        message = "a GGUF adapter can hold neither DoRA nor modules_to_save; write false: the merged files hold both"
        yield CrossFault(("export.adapter", "lora.use_dora", "lora.modules_to_save"), message)
    if export.merge_base == "quantized" and spec.load.bits not in (4, 8):
        message = f"with load.bits {spec.load.bits} there is no quantized base; write original"
        yield CrossFault(("export.merge_base", "load.bits"), message)
    needy = ", ".join(kind for kind in export.types if kind in NEEDS_IMATRIX)
    if needy and export.imatrix == "auto" and not spec.datasets:
        message = f"{needy} need an importance matrix; name a dataset to make it from, or a file as export.imatrix"
        yield CrossFault(("export.types", "export.imatrix", "dataset"), message)
    if needy and export.imatrix == "none":
        message = f"{needy} in export.types need one; write auto, or the path of a file"
        yield CrossFault(("export.imatrix", "export.types"), message)
