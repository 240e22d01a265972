"""Runs the model's tokenizer: the held-out rows as the token ids that training saw, on which every GGUF is judged; the
vocabulary that every GGUF must match; and the format of a prompt.

<workdir>/ids.txt       the held-out rows: ids in decimal, one row a line
          text-ids.txt  the same of `evaluation.text`
          sample.txt    a text that every GGUF must tokenize to sample-ids.txt
"""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, written_whole
from job.chat.portable import portable_template
from job.chat.prompt_format import PromptFormat, plain, take_apart
from job.evaluate.vocabulary import Vocabulary
from job.spec import JobSpec

SAMPLED_ROWS = 50
TEXT_LIMIT = 8  # bytes of `evaluation.text` to read per token: more than the average token of any tokenizer
_TEXT = 'Odd: naïve café, 12345 ½ 你好 🙂\ttab\n\n  two spaces, <b>tags</b> {braces} "quotes"'

NAME = "tokens"


class Inputs(Frozen):
    """`model` is a folder with the tokenizer, `rows` prepared held-out rows of `kind`, if there are any, and `train`
    those to train on."""

    model: Path
    rows: Path | None = None
    train: Path | None = None
    kind: str = "text"
    text: Path | None = None


class Stream(Frozen):
    """A file of token ids in decimal, and their number."""

    ids: Path
    count: int


class Prompt(Frozen):
    """The beginning of a held-out row, as passed to llama.cpp (which adds BOS itself), and the row's continuation.
    `size` is in tokens."""

    text: str
    reference: str
    size: int


class Result(Frozen):
    """`size`: tokens in the vocabulary. `format` is None if the chat template cannot be split into parts. `row_tokens`:
    the mean of the first rows to train on."""

    held_out: Stream | None
    text: Stream | None
    size: int
    vocabulary: Vocabulary
    prompts: list[Prompt]
    format: PromptFormat | None
    row_tokens: float | None = None

    def moved(self, folder: Path) -> "Result":
        """The same with its files in another folder."""

        def there(stream: Stream | None) -> Stream | None:
            return stream and stream.model_copy(update={"ids": folder / stream.ids.name})

        sample = {"text": folder / self.vocabulary.text.name, "ids": folder / self.vocabulary.ids.name}
        vocabulary = self.vocabulary.model_copy(update=sample)
        return self.model_copy(
            update={"held_out": there(self.held_out), "text": there(self.text), "vocabulary": vocabulary}
        )

    def files(self) -> list[Path]:
        """The files that `moved` expects there."""
        return [self.vocabulary.text, self.vocabulary.ids, *(one.ids for one in (self.held_out, self.text) if one)]


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid for chats without a chat template."""
    from job.train import rows
    from job.train.model import load_tokenizer

    tokenizer = load_tokenizer(spec, inputs.model, inputs.kind)
    held_out = text = None
    prompts: list[Prompt] = []
    if inputs.rows:
        held_out = _written(rows.ids_of(inputs.rows, tokenizer, spec), workdir / "ids.txt")
        prompts = [
            Prompt(
                text=prompt if special else prompt.removeprefix(_added_bos(tokenizer) or ""),
                reference=reference,
                size=len(tokenizer(prompt)["input_ids"]),
            )
            for prompt, reference, special in rows.prompts(inputs.rows, tokenizer, spec.evaluation.samples)
        ]
    if inputs.text:
        text = _written(_ids_of_text(inputs.text, tokenizer, spec), workdir / "text-ids.txt")
    texts = [_TEXT, *(_texts(inputs.rows, tokenizer) if inputs.rows else ())]
    return Result(
        held_out=held_out,
        text=text,
        size=len(tokenizer),
        vocabulary=_vocabulary(tokenizer, "\n".join(texts), workdir),
        prompts=prompts,
        row_tokens=_mean_length(rows.ids_of(inputs.train, tokenizer, spec)) if inputs.train else None,
        format=_format(tokenizer),
    )


def _written(rows: Iterable[list[int]], out: Path) -> Stream:
    count = 0
    with written_whole(out) as temporary, temporary.open("w") as file:
        for ids in rows:
            file.write(" ".join(map(str, ids)) + "\n")
            count += len(ids)
    return Stream(ids=out, count=count)


def _mean_length(rows: Iterable[list[int]]) -> float:
    lengths = [len(ids) for ids in islice(rows, SAMPLED_ROWS)]
    return sum(lengths) / len(lengths)


def _ids_of_text(path: Path, tokenizer: Any, spec: JobSpec) -> Iterator[list[int]]:
    """Token ids of the text's beginning, as llama-perplexity reads a file: with the tokenizer's special tokens around
    it."""
    with path.open(encoding="utf-8") as file:
        yield tokenizer(file.read(spec.evaluation.max_tokens * TEXT_LIMIT))["input_ids"]


def _texts(path: Path, tokenizer: Any) -> Iterator[str]:
    from job.train.rows import as_text

    with path.open(encoding="utf-8") as file:
        for line in islice(file, SAMPLED_ROWS):
            yield as_text(json.loads(line), tokenizer)


def _added_bos(tokenizer: Any) -> str | None:
    """BOS as text, if the tokenizer and llama.cpp add it; a chat template may write it too."""
    bos: str | None = tokenizer.bos_token
    return bos if bos and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else None


def _vocabulary(tokenizer: Any, text: str, workdir: Path) -> Vocabulary:
    path = workdir / "sample.txt"
    path.write_bytes(text.encode())
    ids = _written([list(tokenizer(text)["input_ids"])], workdir / "sample-ids.txt").ids
    template = tokenizer.chat_template
    return Vocabulary(
        text=path,
        ids=ids,
        eos=tokenizer.eos_token_id,
        control=sorted(set(tokenizer.all_special_ids)),
        template=portable_template(template) if isinstance(template, str) else None,
    )


def _format(tokenizer: Any) -> PromptFormat | None:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return plain(tokenizer.eos_token)

    def render(messages: list[dict[str, str]], answers: bool) -> str:
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answers))
        except (TemplateError, TypeError) as error:
            raise ValueError(str(error)) from error

    return take_apart(render, tokenizer.all_special_tokens, _added_bos(tokenizer), tokenizer.eos_token)
