"""What the model's tokenizer says: the held-out rows as the token ids that training saw, on which every GGUF is judged,
and what every GGUF's vocabulary must agree with."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, written_whole
from job.merging.gguf_convert import portable_template
from job.spec import JobSpec
from job.vocabulary import Vocabulary

SAMPLED_ROWS = 50
_TEXT = 'Odd: naïve café, 12345 ½ 你好 🙂\ttab\n\n  two spaces, <b>tags</b> {braces} "quotes"'


class Inputs(Frozen):
    """`model` is a folder with the tokenizer, `rows` prepared held-out rows of `kind`, where there are any."""

    model: Path
    rows: Path | None = None
    kind: str = "text"


class Result(Frozen):
    """`ids`: a text file of ids in decimal, one row a line; `count` of them."""

    ids: Path
    count: int
    size: int
    """Tokens in the vocabulary."""
    vocabulary: Vocabulary


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid for chats without a chat template."""
    from job.training import rows
    from job.training.model import load_tokenizer

    tokenizer = load_tokenizer(spec, inputs.model, inputs.kind)
    count = 0
    out = workdir / "ids.txt"
    with written_whole(out) as temporary, temporary.open("w") as file:
        for ids in rows.ids_of(inputs.rows, tokenizer, spec) if inputs.rows else ():
            file.write(" ".join(map(str, ids)) + "\n")
            count += len(ids)
    texts = [_TEXT, *(_texts(inputs.rows, tokenizer) if inputs.rows else ())]
    return Result(
        ids=out, count=count, size=len(tokenizer), vocabulary=_vocabulary(tokenizer, "\n".join(texts), workdir)
    )


def _texts(path: Path, tokenizer: Any) -> Iterator[str]:
    from job.training.rows import as_text

    with path.open(encoding="utf-8") as file:
        for line in islice(file, SAMPLED_ROWS):
            yield as_text(json.loads(line), tokenizer)


def _vocabulary(tokenizer: Any, text: str, workdir: Path) -> Vocabulary:
    path = workdir / "text.txt"
    path.write_bytes(text.encode())
    template = tokenizer.chat_template
    return Vocabulary(
        text=path,
        ids=list(tokenizer(text)["input_ids"]),
        eos=tokenizer.eos_token_id,
        control=sorted(set(tokenizer.all_special_ids)),
        template=portable_template(template) if isinstance(template, str) else None,
    )
