"""The job spec: the only definition of every option, its range and its default.

The defaults are those of a well-known QLoRA recipe for one T4, so a model and a data set are a whole
spec. Field names are those of transformers, peft, trl and bitsandbytes. `job/spec/load.py` reads a spec
from a file and the environment and turns faults into one message. Nothing here uses the network; the
disk is only asked whether a relative path exists, to tell it from a Hub id.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from job.spec.fit import FileType, Fit, each_file_once
from job.spec.types import (
    NUMBER,
    AddTokens,
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
    Rate,
    RepoId,
    Revision,
    RunId,
    S3Url,
    Section,
    Share,
    Template,
    Text,
    each_once,
)


class Model(Section):
    """The model to fine-tune or quantize."""

    id: ModelId
    """A Hub id (`owner/name`, or `gpt2`), `s3://bucket/prefix`, or a folder: a path that starts with `.`, `/`
    or `~`, or has more than one `/` and exists. `hf://owner/name` is a Hub id whatever lies here."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub. It is resolved to its commit, and the commit is recorded."""
    adapter: ModelId | None = None
    """A LoRA adapter to start training from; with `training: null`, to merge and quantize."""


class Dataset(Section):
    """One set of rows."""

    id: DataId
    """A Hub id, `s3://…`, `https://…`, a folder or a file (as in `model.id`; a file is known by its ending:
    .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .txt, each also with .gz)."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub."""
    config: Text | None = None
    """The configuration's name, if a Hub data set has several."""
    split: Text = "train"
    """The split to train on."""
    eval_split: Text | None = None
    """A named split to evaluate on, instead of `eval_fraction` of the rows."""
    format: Literal["auto", "text", "prompt_completion", "messages", "alpaca", "sharegpt"] = "auto"
    """How a row is read. `auto` looks at the columns; a table of prompts and answers becomes conversations if the model
    has a chat template, and `prompt_completion` keeps it plain text."""
    text: Text | None = None
    """The column of plain text. Unset: detected."""
    columns: dict[str, str] = {}
    """Renames: the name that a format expects -> the name that the data has."""
    template: dict[str, str] = {}
    """Jinja templates over a row's columns: the name that a format expects -> what stands there, e.g. `{prompt:
    "{{ question }}", completion: "{{ answer }}"}`, or `messages` as JSON."""
    limit: Count | None = None
    """Use at most this many rows."""
    weight: PositiveNumber = 1.0
    """With several data sets: how often each row is used (2 = twice, 0.5 = a seeded half)."""
    eval_fraction: Share = "auto"
    """The share of rows to hold out for evaluation, chosen by the seed. auto: what a sound judgement takes, at most a
    tenth."""
    duplicates: Literal["keep", "drop"] = "keep"
    """What to do with a row that is equal to an earlier one of this data set. Both are counted and told."""
    too_long: Literal["cut", "drop", "fail"] = "cut"
    """What to do with a row of more than `training.max_length` tokens. cut: train on its beginning. drop: leave it out.
    fail: end the run with exit code 65 before the training."""
    max_broken: Fraction = 0.01
    """If a larger share of the rows is broken, the run ends with exit code 65."""


class Chat(Section):
    """Chat template and system prompt, e.g. for base models without a template."""

    template: Template | None = None
    """A Jinja chat template, or the name of a ready one: chatml, llama3, phi3, plain. It replaces the model's own and
    is written into the GGUF."""
    add_tokens: AddTokens = "auto"
    """auto: add tokens that the chat template writes and the vocabulary lacks, as <|im_end|>. Otherwise the tokens to
    add. Their rows of the embeddings are trained, also those of tokens that the vocabulary has already."""
    system: str | None = None
    """A system prompt to add to each conversation that has none."""


class Export(Section):
    """Which GGUF files are made, and how."""

    types: Annotated[list[FileType], AfterValidator(each_file_once)] = Field(
        default=["q4_k_m", "q5_k_m", "q8_0"], min_length=1
    )
    """llama.cpp's quantization types, in any case; f16, bf16 and f32 publish the unquantized file. `{fit: 6G}`: the
    best mix of tensor types within a size (docs/fit.md)."""
    dtype: Literal["auto", "f16", "bf16", "f32"] = "auto"
    """The file that the others are quantized from. auto: f16, or bf16 for a model whose weights exceed float16's
    range. Merged weights are rounded once, to this type."""
    merge_base: Literal["original", "quantized"] = "original"
    """What the adapter is merged into: the original weights, or the dequantized 4-bit weights."""
    imatrix: Imatrix = "auto"
    """auto: make an importance matrix from the training rows for the types that need one or gain from it. none: use
    no matrix. Otherwise the path or the `s3://` address of a file."""
    adapter: bool = False
    """Publish the adapter as GGUF too (llama.cpp's --lora)."""
    merged: bool = False
    """Publish the merged model as safetensors too."""
    split_max_size: FileSize | None = None
    """Split each GGUF into files of at most this size, e.g. 4G."""

    @property
    def presets(self) -> list[str]:
        """The types of llama.cpp's own."""
        return [one for one in self.types if isinstance(one, str)]

    @property
    def fits(self) -> list[Fit]:
        """The files that are searched for."""
        return [one for one in self.types if isinstance(one, Fit)]

    @property
    def labels(self) -> list[str]:
        """The types as files and records are named, in order."""
        return [one if isinstance(one, str) else one.label for one in self.types]

    @property
    def unquantized(self) -> Literal["f16", "bf16", "f32"]:
        """The type of that file, as far as it is known before the model is fetched."""
        return "f16" if self.dtype == "auto" else self.dtype


class Gate(Section):
    """Limits beyond which a result is too much worse to publish, allowing for twice the reported standard error."""

    action: Literal["fail", "warn"] = "fail"
    """fail: publish nothing and end with exit code 81. warn: write a line to the log."""
    max_tuned_ratio: PositiveNumber = 1.05
    """Perplexity of the tuned model divided by the base model's, on the held-out rows."""
    max_text_ratio: PositiveNumber | None = None
    """The same on `evaluation.text`: how much of other text a training may forget. Unset: any, and the table shows
    it."""
    max_ratio: PositiveNumber | None = None
    """Perplexity of a quantized file divided by the unquantized one's. Unset: 1.3 at 4 bits per weight or more, 3 at 3
    bits or more, 100 below."""
    max_kld: PositiveNumber | None = None
    """KL divergence from the unquantized file, in nats per token. Unset: 0.3, 1 and 10 for the same ranges of bits."""
    min_score: Rate | None = None
    """The smallest share of right answers to `evaluation.tasks`, of the tuned model and of each file."""
    max_score_drop: Fraction | None = None
    """The largest drop of that share, from the base to the tuned model, and from it to each file."""
    min_ends: Rate | None = None
    """The smallest share of held-out answers after which the unquantized file puts a token first that ends them."""


class PlainText(Section):
    """A text to evaluate files on besides the held-out rows, e.g. `{id: Salesforce/wikitext, config:
    wikitext-2-raw-v1}`. Its rows are lines; a .txt file is used unchanged."""

    id: DataId
    """A Hub id, `s3://…`, a folder or a file, as in `dataset.id`."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub."""
    config: Text | None = None
    """The configuration's name, if a Hub data set has several."""
    split: Text = "test"
    """The split to read."""
    column: Text | None = None
    """The column of text. Unset: detected."""

    @property
    def dataset(self) -> Dataset:
        """This text as a `Dataset`, for code that reads data sets."""
        return Dataset(
            id=self.id, revision=self.revision, config=self.config, split=self.split, text=self.column, format="text"
        )


class Tasks(Section):
    """Cases with a known answer, to score models and files on. A case is a row with `prompt` or `messages`, `expected`
    and `compare` (docs/evaluation.md)."""

    id: DataId
    """A Hub id, `s3://…`, a folder or a file, as in `dataset.id`."""
    revision: Revision = "main"
    """Branch, tag or commit on the Hub."""
    config: Text | None = None
    """The configuration's name, if a Hub data set has several."""
    split: Text = "test"
    """The split to read."""
    max_new_tokens: Count = 256
    """Tokens of an answer; what is longer is cut there, and compared as it is."""

    @property
    def dataset(self) -> Dataset:
        """These cases as a `Dataset`, for code that reads data sets."""
        return Dataset(id=self.id, revision=self.revision, config=self.config, split=self.split)


class Evaluation(Section):
    """How the result is evaluated."""

    judge: bool = True
    """Evaluate each file on the held-out rows: perplexity, KL divergence from the unquantized file, speed, samples."""
    text: PlainText | None = None
    """A further text to compute the perplexity of the base model, the tuned model and each file on."""
    tasks: Tasks | None = None
    """Cases with a known answer, which the base model, the tuned model and each file answer: a score for each."""
    context: Count = 512
    """Tokens of context for perplexity."""
    max_tokens: Count = 32_768
    """Use at most this many tokens of the held-out rows, and as many of `text`."""
    threads: Annotated[list[Annotated[int, Field(gt=0, le=1024), NUMBER]], AfterValidator(each_once)] = Field(
        default=[4, 8], min_length=1
    )
    """Thread counts to measure the CPU's speed with; instead of more than there are CPUs, that number is measured."""
    speed_on_cpu: bool = False
    """With a GPU, measure the CPU's speed too. Without one it is always measured."""
    samples: From0 = 3
    """Held-out prompts that the base model, the tuned model and each file answer."""
    max_new_tokens: Count = 64
    """Tokens of each answer."""
    gate: Gate = Gate()


class Hub(Section):
    """A repository on the Hugging Face Hub."""

    repo_id: RepoId
    """owner/name; it is created if it does not exist."""
    private: bool = True
    """Whether a new repository is private. An existing public one is then refused."""
    public_ok: bool = False
    """Publish to an existing public repository even if `private` is true."""
    revision: Revision = "main"
    """The branch that gets the commit."""


class Publish(Section):
    """Where to publish the finished files, under readable names. If nothing is set, they stay in the run store."""

    name: FileName | None = None
    """The name in `<name>-Q4_K_M.gguf`. Unset: from the Hub repository or the model's id."""
    folder: Folder | None = None
    """A folder, e.g. on a mounted volume."""
    s3: S3Url | None = None
    """`s3://bucket/prefix`; the credentials come from the environment."""
    hub: Hub | None = None
    """The Hub repository to publish to."""
    replace: bool = False
    """Delete the files of earlier runs that this one does not make: those that the manifest there lists and nobody has
    changed."""

    @property
    def addresses(self) -> list[str]:
        """The address of every place, as shown in messages and manifests."""
        named = (self.folder, self.s3, f"hf://{self.hub.repo_id}" if self.hub else None)
        return [one for one in named if one]

    def apart(self, number: int) -> Self:
        """The places of one run of a sweep: each with the number of the run, so that none overwrites another."""
        found: dict[str, object] = {}
        for name, folder in (("folder", self.folder), ("s3", self.s3)):
            if folder:
                found[name] = f"{folder.rstrip('/')}/{number}"
        if self.hub:
            repo = re.sub(r"(-gguf)?$", rf"-{number}\1", self.hub.repo_id, count=1, flags=re.I)
            found["hub"] = self.hub.model_copy(update={"repo_id": repo})
        return self.model_copy(update=found)


class Run(Section):
    """The run itself."""

    id: RunId | None = None
    """Unset: the Job's name, else the hash of the spec."""
    seed: Annotated[int, Field(ge=0, lt=2**32), NUMBER] = 42
    """Seed for the split, the order of the data, the adapter's initial weights and dropout."""
    store: Place | None = None
    """Where finished work is kept: s3://bucket/prefix, or a folder that outlives the node. Unset: `store` in the work
    directory."""
