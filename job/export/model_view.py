"""Makes a folder that combines a model with another tokenizer or chat template, without copying it.

llama.cpp's converter reads config, tokenizer and weights from one folder. The view contains symbolic links to the
model's files and to the tokenizer's, and a new tokenizer_config.json:

    <view>/  *.safetensors, config.json …   -> the model
             tokenizer.json …               -> the tokenizer that training saved, if there is one
             tokenizer_config.json          the model's settings, overridden by the tokenizer's, overridden by the
             spec's template
"""

import json
from pathlib import Path
from typing import Any

from job.errors import IntegrityViolated, NotFound

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt",
    "chat_template.jinja", "chat_template.json", "additional_chat_templates",
)  # fmt: skip
_TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
_CONFIG = "tokenizer_config.json"


def make_view(view: Path, model: Path, tokenizer: Path | None, template: str | None) -> Path:
    """Makes the folder `view`, from whose name the converter derives metadata (base name, size, fine-tune).

    Raises NotFound if the model has no config.json, IntegrityViolated if tokenizer_config.json is not JSON.
    """
    if not (model / "config.json").is_file():
        raise NotFound(f"{model} has no config.json", hint="Set model.id to a model in Hugging Face's format.")
    sources = {path.name: path for path in model.iterdir() if path.name != _CONFIG}
    own, new = _config(model), _config(tokenizer) if tokenizer else {}
    if tokenizer:
        brought = {name: tokenizer / name for name in _TOKENIZER_FILES if (tokenizer / name).exists()}
        if any(name in brought for name in _TEMPLATES) or "chat_template" in new:
            _drop_template(sources, own)
        sources |= brought
    settings = own | {key: value for key, value in new.items() if value is not None}
    if template is not None:
        _drop_template(sources, settings)
        settings["chat_template"] = template
    view.mkdir()
    for name, source in sources.items():
        (view / name).symlink_to(source.resolve())
    if settings:
        _declare_added_tokens(view, settings)
        (view / _CONFIG).write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
    return view


def tokenizer_files(view: Path) -> list[Path]:
    """The tokenizer's files in a view, to copy them into a published model."""
    return [view / name for name in (*_TOKENIZER_FILES, _CONFIG) if (view / name).exists()]


def _config(folder: Path) -> dict[str, Any]:
    path = folder / _CONFIG
    if not path.is_file():
        return {}
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityViolated(f"{path} is not JSON: {error}") from error
    return settings


def _drop_template(sources: dict[str, Path], settings: dict[str, Any]) -> None:
    settings.pop("chat_template", None)
    for name in _TEMPLATES:
        sources.pop(name, None)


def _declare_added_tokens(view: Path, settings: dict[str, Any]) -> None:
    """Adds tokens that only tokenizer.json has to `added_tokens_decoder`.

    transformers 5 no longer writes that table, and the converter reads only it if there is a tokenizer.model: tokens
    added in training would be lost.
    """
    if "added_tokens_decoder" in settings or not (view / "tokenizer.model").is_file():
        return
    if not (view / "tokenizer.json").is_file():
        return
    from sentencepiece import SentencePieceProcessor

    pieces = SentencePieceProcessor()
    pieces.Load(str(view / "tokenizer.model"))
    added = json.loads((view / "tokenizer.json").read_text(encoding="utf-8")).get("added_tokens", [])
    missing = {
        str(token["id"]): token
        for token in added
        if token["id"] >= pieces.GetPieceSize() or pieces.IdToPiece(token["id"]) != token["content"]
    }
    if missing:
        settings["added_tokens_decoder"] = missing
