"""A model's own chat template."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from job.errors import DataInvalid

PLAIN = "chat_template.jinja"
SETTINGS = ("tokenizer_config.json", "chat_template.json")
"""JSON objects with `chat_template`: the tokenizer's settings, and the processor's of older models, which the tokenizer
of transformers does not read, but llama.cpp's converter does (gguf-py/gguf/vocab.py)."""


def own_template(read: Callable[[str], str | None]) -> str | None:
    """The template in chat_template.jinja, else in tokenizer_config.json, else in chat_template.json: a text, or a list
    of named ones.

    `read` gives a file's text by its name, or None. Raises DataInvalid if the file is not JSON.
    """
    if (template := read(PLAIN)) is not None:
        return template
    return next((found for name in SETTINGS if (found := _setting(name, read(name)))), None)


def _setting(name: str, text: str | None) -> str | None:
    try:
        settings = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"{name} is not JSON: {error}") from error
    found = settings.get("chat_template") if isinstance(settings, dict) else None
    if isinstance(found, list):
        found = {one["name"]: one["template"] for one in found}.get("default")
    return found if isinstance(found, str) else None


def template_for(found: Any, tools: Any = None) -> str | None:
    """The template that `apply_chat_template` of transformers takes. `found`: a tokenizer's one, or several by name:
    `tool_use` for rows with tools, else `default`."""
    if isinstance(found, dict):
        found = found["tool_use"] if tools is not None and "tool_use" in found else found.get("default")
    return found if isinstance(found, str) and found else None


def text_of(path: Path) -> str | None:
    """A file's text; None if there is no such file."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
