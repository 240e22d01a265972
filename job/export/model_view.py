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

from job.chat.tokenizer_files import CONFIG, FILES, combined
from job.errors import NotFound


def make_view(view: Path, model: Path, tokenizer: Path | None, template: str | None) -> Path:
    """Makes the folder `view`, from whose name the converter derives metadata (base name, size, fine-tune).

    Raises NotFound if the model has no config.json, IntegrityViolated if tokenizer_config.json is not JSON.
    """
    if not (model / "config.json").is_file():
        raise NotFound(f"{model} has no config.json", hint="Set model.id to a model in Hugging Face's format.")
    sources, settings = combined(model, tokenizer, template)
    view.mkdir()
    for name, source in sources.items():
        (view / name).symlink_to(source.resolve())
    if settings:
        _declare_added_tokens(view, settings)
        (view / CONFIG).write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return view


def tokenizer_files(view: Path) -> list[Path]:
    """The tokenizer's files in a view, to copy them into a published model."""
    return [view / name for name in (*FILES, CONFIG) if (view / name).exists()]


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
