"""A model's own chat template."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job.errors import DataInvalid

FILES = ("chat_template.jinja", "tokenizer_config.json")


def own_template(read: Callable[[str], str | None]) -> str | None:
    """The template in chat_template.jinja, else in tokenizer_config.json: a text, or a list of named ones.

    `read` gives a file's text by its name, or None. Raises DataInvalid if the file is not JSON.
    """
    template, config = (read(name) for name in FILES)
    if template is not None:
        return template
    try:
        settings = json.loads(config or "{}")
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"tokenizer_config.json is not JSON: {error}") from error
    found = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(found, list):
        found = {one["name"]: one["template"] for one in found}.get("default")
    return found if isinstance(found, str) and found else None


def template_for(found: Any, tools: Any = None) -> str | None:
    """The template that `apply_chat_template` of transformers takes. `found`: a tokenizer's one, or several by name:
    `tool_use` for rows with tools, else `default`."""
    if isinstance(found, dict):
        found = found["tool_use"] if tools is not None and "tool_use" in found else found.get("default")
    return found if isinstance(found, str) and found else None


def text_of(path: Path) -> str | None:
    """A file's text; None if there is no such file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
