"""The training rows as one text, for an importance matrix."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job.artifacts import written_whole
from job.chat.rendering import Budget
from job.chat.templates import own_template, text_of
from job.errors import DataInvalid
from job.logs import log

TEXT_LIMIT = 250_000  # bytes: enough for MOST_CHUNKS of 512 tokens at 8 bytes a token


def render_text(
    rows: Path, kind: str, tokenizer: Path, out: Path, *, template: str | None = None, limit_bytes: int = TEXT_LIMIT
) -> Path:
    """The training rows as the model saw them, sampled evenly from the whole file, up to `limit_bytes`.

    Chats are rendered with `template`, else with the tokenizer's own chat template; without any, their turns are
    joined. Raises DataInvalid if the template refuses a row.
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
    """A function that renders a conversation, in a sandbox: a template is code that comes with the model."""
    from jinja2.exceptions import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    config = tokenizer / "tokenizer_config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    source = template if template is not None else own_template(lambda name: text_of(tokenizer / name))
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
    # Templates mark the assistant's turns with a tag of transformers that jinja2 does not know.
    source = re.sub(r"\{%(-?)\s*generation\s*(-?)%\}", r"{%\1 if true \2%}", source)
    source = re.sub(r"\{%(-?)\s*endgeneration\s*(-?)%\}", r"{%\1 endif \2%}", source)

    def render(messages: list[dict[str, str]]) -> str:
        try:
            with budget.rendering():
                return compiled.render(messages=messages, add_generation_prompt=False)
        except (TemplateError, TypeError, ValueError) as error:
            raise DataInvalid(
                f"the chat template refuses a row: {error}",
                hint="Set chat.template, or set export.imatrix to none or a file.",
            ) from error

    budget = Budget(is_own=template is not None)
    try:
        with budget.rendering():
            compiled = environment.from_string(source)
    except TemplateError as error:
        raise DataInvalid(
            f"the chat template is not a valid Jinja template: {error}", hint="Set chat.template."
        ) from error
    return render


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token or "")
