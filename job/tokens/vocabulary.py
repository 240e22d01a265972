"""What every GGUF must agree with: the tokenizer's ids of a text, its special tokens, and what the template writes."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, written_whole
from job.chat.portable import portable_template
from job.chat.templates import template_for
from job.logs import log
from job.tokens.untrained import untrained

_TEXT = 'Odd: naïve café, 12345 ½ 你好 🙂\ttab\n\n  two spaces, <b>tags</b> {braces} "quotes"'


class Stream(Frozen):
    """A file of token ids in decimal, and their number."""

    ids: Path
    count: int


class Vocabulary(Frozen):
    """A text tokenized by the model's tokenizer, and its special tokens.

    `text`: a file, `ids`: a file of its token ids in decimal, including the special tokens that the tokenizer adds.
    `control`: ids that never represent text. `written`: the added tokens that the chat template writes, by id;
    `turn_end`: the one that ends an answer, if it is not EOS.
    """

    text: Path
    ids: Path
    eos: int
    control: list[int]
    template: str | None
    written: dict[int, str] = {}
    turn_end: int | None = None


def vocabulary_of(tokenizer: Any, rows: list[str], workdir: Path, turn_end: str | None) -> Vocabulary:
    """`rows`: some of them as text. Writes sample.txt and sample-ids.txt."""
    path, text = workdir / "sample.txt", "\n".join([_TEXT, *rows])
    path.write_bytes(text.encode())
    ids = write_ids([list(tokenizer(text)["input_ids"])], workdir / "sample-ids.txt").ids
    template = template_for(tokenizer.chat_template)
    written = _written_tokens(tokenizer, text)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return Vocabulary(
        text=path,
        ids=ids,
        eos=tokenizer.eos_token_id,
        control=sorted({*tokenizer.all_special_ids, *(written.keys() & special)}),
        template=portable_template(template) if template else None,
        written=written,
        turn_end=tokenizer.convert_tokens_to_ids(turn_end) if turn_end not in (None, tokenizer.eos_token) else None,
    )


def _written_tokens(tokenizer: Any, text: str) -> dict[int, str]:
    """The added tokens in the chat template, and in what it made of rows."""
    template = template_for(tokenizer.chat_template)
    if template is None:
        return {}
    added = tokenizer.added_tokens_decoder.items()
    return {number: token.content for number, token in added if token.content in template or token.content in text}


def tell_untrained(model: Path, tokenizer: Any, written: dict[int, str], added: Collection[str]) -> None:
    """Warns of tokens that the template writes and the model has never trained. `added`: those that this run trains."""
    every = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
    if found := [token for token in untrained(model, written, every) if token not in added]:
        names = ", ".join(f"'{token}'" for token in found)
        what = (
            f"the model has never trained the embeddings of {', '.join(found)}, which the chat template writes: it "
            f"cannot tell them apart. Train them too: chat.add_tokens: [{names}], or "
            "lora.modules_to_save: [embed_tokens, lm_head]"
        )
        log.warning("tokens.untrained", tokens=found, what=what)


def write_ids(rows: Iterable[list[int]], out: Path) -> Stream:
    count = 0
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for ids in rows:
            file.write(" ".join(map(str, ids)) + "\n")
            count += len(ids)
    return Stream(ids=out, count=count)
