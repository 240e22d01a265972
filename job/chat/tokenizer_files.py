"""The files of a tokenizer in a model's folder, and what of them another folder's files replace."""

import json
from pathlib import Path
from typing import Any

from job.errors import IntegrityViolated

FILES = (
    "tokenizer.json", "tokenizer.model", "added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "chat_template.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
CONFIG = "tokenizer_config.json"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def combined(
    model: Path, tokenizer: Path | None, template: str | None = None
) -> tuple[dict[str, Path], dict[str, Any]]:
    """The files of a model by name, with those that a folder of a tokenizer brings in their place, and the settings for
    tokenizer_config.json: the model's, overridden by the tokenizer's, overridden by the template.

    Raises IntegrityViolated if tokenizer_config.json is not JSON.
    """
    sources = {path.name: path for path in model.iterdir() if path.name != CONFIG}
    own, new = _config(model), _config(tokenizer) if tokenizer else {}
    if tokenizer:
        brought = {name: tokenizer / name for name in FILES if (tokenizer / name).exists()}
        if any(name in brought for name in TEMPLATES) or "chat_template" in new:
            _drop_template(sources, own)
        if "tokenizer.json" in brought and "added_tokens_decoder" not in new:
            own.pop("added_tokens_decoder", None)  # transformers 5 keeps these in tokenizer.json alone
        sources |= brought
    settings = own | {key: value for key, value in new.items() if value is not None}
    if TEMPLATES[0] in sources:  # transformers prefers it, the converter the settings
        settings.pop("chat_template", None)
    if template is not None:
        _drop_template(sources, settings)
        settings["chat_template"] = template
    return sources, settings


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        return {}
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityViolated(f"{path} is not JSON: {error}") from error
    return settings


def _drop_template(sources: dict[str, Path], settings: dict[str, Any]) -> None:
    settings.pop("chat_template", None)
    for name in TEMPLATES:
        sources.pop(name, None)
