"""The importance matrix: from the training rows, or the user's own file.

llama-imatrix runs the unquantized model over text and adds up what each column of each tensor sees
(llama.cpp's tools/imatrix/README.md); quantizing then spends its bits where they count.
"""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job import generate, offload
from job.artifacts import sha256_of, written_whole
from job.errors import Bug, DataInvalid, IntegrityViolated, NotFound, SpecInvalid
from job.logs import Progress, log

FEW_CHUNKS = 10  # below, many columns have hardly been seen
MOST_CHUNKS = 64  # above, a matrix changes little; 33,000 tokens are half an hour for a 7B model on four CPUs
TEXT_LIMIT = 250_000  # bytes: what MOST_CHUNKS of 512 tokens need, at less than 8 bytes a token
_CHUNKS = re.compile(r"computing over (\d+) chunks")
_CHUNK = re.compile(r"\[(\d+)\]")
_TOO_SHORT = re.compile(r"tokenizes to only (\d+) tokens")
_IMATRIX = re.compile(rb"GGUF.*general\.type\x08\x00{3}\x07\x00{7}imatrix", re.S)  # key, string, length 7


def digest_of_file(path: Path) -> str:
    """The SHA-256 of the user's own file. Raises NotFound where it is not there."""
    if not path.is_file():
        raise NotFound(f"export.imatrix: there is no file {path}", hint="Name a file, or write auto or none.")
    return sha256_of(path)


def copy_checked(own: Path, out: Path) -> None:
    """Takes the user's file if it is a matrix: a GGUF of type imatrix, or llama.cpp's earlier binary format.

    Raises NotFound where there is no such file, SpecInvalid where it is something else.
    """
    if not own.is_file():
        raise NotFound(f"export.imatrix: there is no file {own}", hint="Name a file, or write auto or none.")
    with own.open("rb") as file:
        head = file.read(4096)
    entries = int.from_bytes(head[:4], "little")  # the earlier format: their number, then the first one's name
    if not _IMATRIX.match(head) and not (0 < entries < 100_000 and b".weight" in head):
        raise SpecInvalid(
            f"export.imatrix: {own} is no importance matrix", hint="Make one with llama-imatrix, or write auto."
        )
    with written_whole(out) as temporary:
        shutil.copyfile(own, temporary)


def render_text(
    rows: Path, kind: str, tokenizer: Path, out: Path, *, template: str | None = None, limit_bytes: int = TEXT_LIMIT
) -> Path:
    """The training rows as the model saw them in training, evenly from the whole file, up to `limit_bytes`.

    Chats go through `template`, else the tokenizer's own chat template; where there is none, their turns follow each
    other. Raises DataInvalid where the template refuses a row.
    """
    render = _renderer(tokenizer, template) if kind == "messages" else None
    every = max(1, rows.stat().st_size // limit_bytes)
    left = limit_bytes
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as text:
        for row in _every_nth(rows, every):
            if render:
                said = render(row["messages"])
            else:
                said = row["text"] if kind == "text" else row["prompt"] + row["completion"]
            text.write(said + "\n")
            left -= len(said.encode()) + 1
            if left <= 0:
                break
    return out


def _every_nth(rows: Path, every: int) -> Iterator[dict[str, Any]]:
    with rows.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number % every == 0:
                yield json.loads(line)


def _renderer(tokenizer: Path, template: str | None) -> Any:
    """What turns a conversation into text, in a sandbox: a template comes with the model and is code."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    config = tokenizer / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    source = template or _own_template(tokenizer, settings)
    if source is None:
        log.warning("imatrix.no_chat_template", tokenizer=str(tokenizer), what="the turns are put one after another")
        return lambda messages: "\n".join(turn["content"] for turn in messages)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    tokens = {name: _content(settings.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    environment.globals.update(tokens, raise_exception=refuse, strftime_now=datetime.now(UTC).strftime)
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    # transformers marks the assistant's turns with a tag that jinja2 does not know.
    source = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", source)
    source = re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", source)

    def render(messages: list[dict[str, str]]) -> str:
        try:
            return compiled.render(messages=messages, add_generation_prompt=False)
        except (TemplateError, TypeError, ValueError) as error:
            raise DataInvalid(
                f"the chat template refuses a row: {error}",
                hint="Set chat.template, or export.imatrix to none or a file.",
            ) from error

    try:
        compiled = environment.from_string(source)
    except TemplateError as error:
        raise DataInvalid(f"the chat template is no Jinja template: {error}", hint="Set chat.template.") from error
    return render


def _own_template(tokenizer: Path, settings: dict[str, Any]) -> str | None:
    """chat_template.jinja, else what tokenizer_config.json has: a text, or a list of named ones."""
    file = tokenizer / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        named = {one["name"]: one["template"] for one in found}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token or "")


def make_imatrix(gguf: Path, text: Path, out: Path, *, context: int = 512) -> Path:
    """Computes the matrix over `text` in chunks of `context` tokens, at most MOST_CHUNKS of them.

    Raises DataInvalid where the text does not fill two chunks, IntegrityViolated where the model computes NaN.
    """
    if not text.stat().st_size:
        raise DataInvalid("the training rows hold no text for an importance matrix")
    progress: list[Progress] = []

    def on_line(line: str) -> None:
        if found := _CHUNKS.search(line):
            chunks = int(found[1])
            progress[:] = [Progress("importance matrix", chunks, "chunks")]
            if chunks < FEW_CHUNKS:
                log.warning("imatrix.little_text", chunks=chunks, wanted=FEW_CHUNKS, tokens=FEW_CHUNKS * context)
        elif progress and (numbers := _CHUNK.findall(line)):
            progress[0].update(int(numbers[-1]))

    with written_whole(out) as temporary:
        made = temporary.with_name(temporary.name + ".gguf")  # llama-imatrix tells the format by the name's ending
        arguments: list[str | Path] = ["-m", gguf.absolute(), "-o", made.absolute()]
        # The text's name, as it is given, is written into the matrix and from there into the model.
        arguments += ["-f", text.name, "-c", str(context), "--chunks", str(MOST_CHUNKS)]
        arguments += ["-t", str(generate.threads()), "--parse-special", "--offline"]
        try:
            offload.run(
                "llama-imatrix", arguments, gguf=gguf, error=Bug, on_line=on_line, line_ends="\n,", cwd=text.parent
            )
            made.replace(temporary)
        except Bug as error:
            _translate(error, gguf, context)
        finally:
            made.unlink(missing_ok=True)
    return out


def _translate(error: Bug, gguf: Path, context: int) -> None:
    if found := _TOO_SHORT.search(error.message):
        raise DataInvalid(
            f"the training rows are too little text for an importance matrix: {found[1]} tokens, and it needs "
            f"{2 * context} at least; {FEW_CHUNKS * context} are sensible",
            hint="Take types that need no matrix, a smaller evaluation.context, or name a matrix as export.imatrix.",
        ) from error
    if "non-finite values" in error.message:
        raise IntegrityViolated(f"{gguf.name} computes NaN or infinity\n{error.message}") from error
    raise error
