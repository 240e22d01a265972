"""The job spec: the only definition of every option, its range and its default.

The defaults are those of a well-known QLoRA recipe for one T4, so a model and a data set are a whole
spec. Field names are those of transformers, peft, trl and bitsandbytes. `job/spec/load.py` reads a spec
from a file and the environment and turns faults into one message. Nothing here looks at the network; the
disk is asked only whether a relative path exists, where a name could be nothing else.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from job.spec.types import (
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
    Place,
    PositiveNumber,
    QuantType,
    RepoId,
    Revision,
    RunId,
    S3Url,
    Section,
    Text,
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
    """auto: an importance matrix from the training rows, for the types that need one or gain by it; none; or a
    file."""
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


class PlainText(Section):
    """A text that files are judged on beside the held-out rows, e.g. `{id: Salesforce/wikitext, config:
    wikitext-2-raw-v1}`. Rows are its lines; a file that ends in .txt is taken as it is."""

    id: DataId
    """A Hub id, `s3://…`, a folder or a file, as in `dataset.id`."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub."""
    config: Text | None = None
    """The configuration's name, where a Hub data set has several."""
    split: Text = "test"
    """The split that is read."""
    column: Text | None = None
    """The column of text. Unset: found by looking."""

    @property
    def dataset(self) -> Dataset:
        """The same as a data set, for what reads those."""
        return Dataset(
            id=self.id, revision=self.revision, config=self.config, split=self.split, text=self.column, format="text"
        )


class Evaluation(Section):
    """How the result is looked at."""

    judge: bool = True
    """Judge each file on the held-out rows: perplexity, KL divergence from the unquantized file, speed, samples."""
    text: PlainText | None = None
    """A text to compute each file's perplexity on too."""
    context: Count = 512
    """Tokens of context for perplexity."""
    max_tokens: Count = 32_768
    """Judge on at most so many tokens, of the held-out rows and of `text` each."""
    threads: Annotated[list[Annotated[int, Field(gt=0, le=1024), NUMBER]], AfterValidator(each_once)] = Field(
        default=[4, 8], min_length=1
    )
    """Thread counts for the speed measurement."""
    samples: From0 = 3
    """Held-out prompts that the base model, the tuned model and each file answer."""
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

    @property
    def addresses(self) -> list[str]:
        """Every place, as people and manifests name it."""
        named = (self.folder, self.s3, f"hf://{self.hub.repo_id}" if self.hub else None)
        return [one for one in named if one]


class Run(Section):
    """The run itself."""

    id: RunId | None = None
    """Unset: the Job's name, else the hash of the spec."""
    seed: Annotated[int, Field(ge=0, lt=2**32), NUMBER] = 42
    """For the split, the data's order, the adapter's start and dropout."""
    store: Place | None = None
    """s3://bucket/prefix or a folder that outlives the node. Unset: `store` in the work directory."""
