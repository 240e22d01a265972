"""The held-out rows as the token ids that training saw, one row after another: what every GGUF is judged on."""

from pathlib import Path

from job.artifacts import Frozen, written_whole
from job.spec import JobSpec


class Inputs(Frozen):
    """`model` is a folder with the tokenizer, `rows` prepared rows of `kind`."""

    model: Path
    rows: Path
    kind: str


class Result(Frozen):
    """`ids`: a text file of ids in decimal, one row a line."""

    ids: Path
    count: int
    vocabulary: int


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid for chats without a chat template."""
    from job.training import rows
    from job.training.model import load_tokenizer

    tokenizer = load_tokenizer(spec, inputs.model, inputs.kind)
    count = 0
    out = workdir / "ids.txt"
    with written_whole(out) as temporary, temporary.open("w") as file:
        for ids in rows.ids_of(inputs.rows, tokenizer, spec):
            file.write(" ".join(map(str, ids)) + "\n")
            count += len(ids)
    return Result(ids=out, count=count, vocabulary=len(tokenizer))
