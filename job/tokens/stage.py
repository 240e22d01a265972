"""Makes every row into token ids and labels, once: training, judging, samples and the importance matrix take them from
here. Also what every GGUF must agree with: the vocabulary and the format of a prompt.

<workdir>/train.parquet      the rows to train on (files.py)
          eval.parquet       the held-out rows
          ids.txt            the held-out rows: ids in decimal, one row a line
          ends.txt           the places in it at which an answer ends
          text-ids.txt       the same of `evaluation.text`
          calibration.txt    training rows as text, for an importance matrix
          sample.txt         a text that every GGUF must tokenize to sample-ids.txt
"""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, written_whole
from job.chat.prompt_format import PromptFormat, plain, take_apart
from job.errors import DataInvalid
from job.logs import log
from job.spec import JobSpec
from job.tokens import files
from job.tokens.added import tokens_to_train
from job.tokens.encoder import Encoder
from job.tokens.files import TokenRows
from job.tokens.lengths import Counts, check_lengths
from job.tokens.look import LookedAt, look_at
from job.tokens.renderer import Refused
from job.tokens.rows import Rows
from job.tokens.tokenizer import load_tokenizer
from job.tokens.vocabulary import Stream, Vocabulary, tell_untrained, vocabulary_of, write_ids

LONGEST_PROMPT = 8_000  # characters: a longer row makes a sample too long to read
TEXT_LIMIT = 8  # bytes of `evaluation.text` to read per token: more than the average token of any tokenizer

NAME = "tokens"
TRAIN, ENDS = "train.parquet", "ends.txt"


class Inputs(Frozen):
    """`model` is a folder with the tokenizer, `rows` prepared held-out rows of `kind`, if there are any, and `train`
    those to train on. `look_at`: how many of these to show."""

    model: Path
    rows: Path | None = None
    train: Path | None = None
    kind: str = "text"
    text: Path | None = None
    look_at: int = 0


class Prompt(Frozen):
    """The beginning of a held-out row, as shown, as tokens, and as passed to llama.cpp (which adds BOS itself), and the
    row's continuation."""

    shown: str
    ids: list[int]
    text: str
    reference: str


class Result(Frozen):
    """`size`: tokens in the vocabulary; `stops`: texts that end an answer, and `stop_ids` their ids;
    `ends`: a file of the places in `held_out` at which an answer ends; `added`: tokens whose rows of the embeddings
    are trained. `format` is None if the chat template cannot be split into parts. `left_out`: fields that the chat
    template does not show, and of how many rows; `unlearned`: rows with nothing to learn; `counts`: what became of the
    rows of `train` and `eval`."""

    train: TokenRows | None = None
    eval: TokenRows | None = None
    held_out: Stream | None
    text: Stream | None
    calibration: Path | None = None
    size: int
    vocabulary: Vocabulary
    prompts: list[Prompt]
    format: PromptFormat | None
    stops: list[str] = []
    stop_ids: list[int] = []
    ends: Path | None = None
    added: list[str] = []
    left_out: dict[str, int] = {}
    unlearned: int = 0
    counts: dict[str, Counts] = {}
    looked_at: list[LookedAt] = []

    def moved(self, folder: Path) -> "Result":
        """The same with its files in another folder."""

        def there(held: Any, name: str) -> Any:
            return held and held.model_copy(update={name: folder / getattr(held, name).name})

        sample = {"text": folder / self.vocabulary.text.name, "ids": folder / self.vocabulary.ids.name}
        return self.model_copy(
            update={
                "train": there(self.train, "path"),
                "eval": there(self.eval, "path"),
                "held_out": there(self.held_out, "ids"),
                "text": there(self.text, "ids"),
                "ends": self.ends and folder / self.ends.name,
                "calibration": self.calibration and folder / self.calibration.name,
                "vocabulary": self.vocabulary.model_copy(update=sample),
            }
        )

    def files(self) -> list[Path]:
        """The files that `moved` expects there."""
        rows = [one.path for one in (self.train, self.eval) if one]
        streams = [one.ids for one in (self.held_out, self.text) if one]
        more = [one for one in (self.calibration, self.ends) if one]
        return [self.vocabulary.text, self.vocabulary.ids, *rows, *streams, *more]

    def end_places(self) -> list[int]:
        """The places in `held_out` at which an answer ends."""
        return [int(word) for word in self.ends.read_text(encoding="utf-8").split()] if self.ends else []


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid for rows that this model and this spec cannot train, DataInvalid for a template that takes too
    long."""
    tokenizer = load_tokenizer(spec, inputs.model)
    more = [*_ends_of_generation(tokenizer, inputs.model), tokenizer.eos_token]
    if added := tokens_to_train(spec, tokenizer, inputs.kind):
        tokenizer = load_tokenizer(spec, inputs.model, added)
    rows = Rows(Encoder(spec, tokenizer, inputs.kind, more))
    stop_ids = sorted(token for token in tokenizer.convert_tokens_to_ids(rows.encoder.stops) if token is not None)
    train = evaluated = held_out = text = calibration = ends = None
    looked_at: list[LookedAt] = []
    if inputs.train and inputs.look_at:
        first = islice(rows.read(inputs.train), inputs.look_at)
        looked_at = [look_at(*rows.encode(row, number), tokenizer) for number, row in enumerate(first, 1)]
    prompts: list[Prompt] = []
    if inputs.train:
        calibration = workdir / "calibration.txt"
        with written_whole(calibration) as temporary, temporary.open("w", encoding="utf-8") as file:
            found = rows.sampled(inputs.train, file, every_row=spec.training is not None)
            if spec.training is None:
                for _ in found:
                    continue
            else:
                train = files.write(found, workdir / TRAIN)
    if train and not train.rows:
        raise DataInvalid("no row has a token to train on within max_length", hint="Raise training.max_length.")
    if inputs.rows:
        evaluated = files.write(rows.encoded(inputs.rows, "held out"), workdir / "eval.parquet")
        evaluated = evaluated if evaluated.rows else None
    check_lengths(spec, rows.parts.values())
    if inputs.rows and evaluated:
        held_out = write_ids(files.ids_of(evaluated.path), workdir / "ids.txt")
        if inputs.kind != "text":
            every = rows.encoder.learns_answers_only
            ends = write_ids([list(files.ends_of(evaluated.path, stop_ids, every=every))], workdir / ENDS).ids
        prompts = list(_prompts(rows, inputs.rows, spec.evaluation.samples))
    if inputs.text:
        text = write_ids(_ids_of_text(inputs.text, tokenizer, spec), workdir / "text-ids.txt")
    rows.tell()
    if train:
        log.info("tokens.rows", rows=train.rows, tokens=train.tokens, trained=train.trained, cut=train.cut)
    vocabulary = vocabulary_of(tokenizer, rows.first_texts, workdir, rows.encoder.turn_end)
    if inputs.kind == "messages" and spec.training and not (spec.lora.modules_to_save or spec.model.adapter):
        tell_untrained(inputs.model, tokenizer, vocabulary.written, added)
    return Result(
        train=train,
        eval=evaluated,
        held_out=held_out,
        text=text,
        calibration=calibration,
        size=len(tokenizer),
        vocabulary=vocabulary,
        prompts=prompts,
        format=_format(rows.encoder, tokenizer),
        stops=rows.encoder.stops,
        stop_ids=stop_ids,
        ends=ends,
        added=added,
        left_out=dict(rows.left_out),
        unlearned=rows.unlearned,
        counts={what: part.counts() for what, part in rows.parts.items()},
        looked_at=looked_at,
    )


def _ends_of_generation(tokenizer: Any, model: Path) -> list[str]:
    """The tokens at which the model's own settings end an answer."""
    path = model / "generation_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"generation_config.json is not JSON: {error}") from error
    found = config.get("eos_token_id") if isinstance(config, dict) else None
    ids = [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, int)]
    return [token for token in tokenizer.convert_ids_to_tokens(ids) if isinstance(token, str)]


def _prompts(rows: Rows, path: Path, count: int) -> Iterator[Prompt]:
    """The first held-out rows that are not too long."""
    found = map(rows.encoder.sample, rows.read(path))
    bos = rows.encoder.added_bos
    for one in islice((one for one in found if len(one.text) <= LONGEST_PROMPT), count):
        yield Prompt(shown=one.text, ids=one.ids, text=one.text.removeprefix(bos or ""), reference=one.reference)


def _ids_of_text(path: Path, tokenizer: Any, spec: JobSpec) -> Iterator[list[int]]:
    """Token ids of the text's beginning, as llama-perplexity reads a file: with the tokenizer's special tokens around
    it."""
    with path.open(encoding="utf-8") as file:
        yield tokenizer(file.read(spec.evaluation.max_tokens * TEXT_LIMIT))["input_ids"]


def _format(encoder: Encoder, tokenizer: Any) -> PromptFormat | None:
    if not tokenizer.chat_template:
        return plain()

    def render(messages: list[dict[str, str]], answers: bool) -> str:
        try:
            return encoder.renderer.render(messages, asks=answers).text
        except Refused as error:
            raise ValueError(str(error)) from error

    return take_apart(render, encoder.added_bos)
