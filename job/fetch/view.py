"""A folder with links to what may be loaded of a model or an adapter: without code, and without what would ask for it.

`job.fetch.safety` refuses a model whose configs name code. This holds even if a local folder changes after that check,
and for every library that is handed the folder.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from job.chat.tokenizer_files import CONFIG, TEMPLATES, VOCABULARIES, combined

CONFIGS = ("config.json", "tokenizer_config.json", "adapter_config.json", "generation_config.json")
_FOLDERS = ("additional_chat_templates",)
_CODE = (".py", ".pyc", ".so")


def make_view(folder: Path, view: Path, weights: Collection[str]) -> Path:
    """Makes the folder `view` anew, with these of the weight files. Configs are copies without `auto_map` and without
    paths of other files."""
    shutil.rmtree(view, ignore_errors=True)
    view.mkdir(parents=True)
    for source in folder.iterdir():
        if source.name.startswith(".") or source.name.endswith(_CODE):
            continue
        if source.name in CONFIGS:
            config = json.loads(source.read_text(encoding="utf-8"))
            text = json.dumps(without_code(config), indent=2)
            (view / source.name).write_text(text + "\n", encoding="utf-8")
        elif ".safetensors" in source.suffixes and source.name not in weights:
            continue
        elif source.is_file() or source.name in _FOLDERS:
            (view / source.name).symlink_to(source.resolve())
    return view


def with_tokenizer(view: Path, brought: Path) -> Path:
    """A view beside `view` with the tokenizer and chat template of the view `brought`; `view`, if that has none."""
    if not brings_tokenizer(brought):
        return view
    both = view.with_name(f"{view.name}-tokenizer")
    shutil.rmtree(both, ignore_errors=True)
    both.mkdir()
    sources, settings = combined(view, brought)
    for name, source in sources.items():
        (both / name).symlink_to(source.resolve())
    if settings:
        (both / CONFIG).write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return both


def brings_tokenizer(folder: Path) -> bool:
    """Whether an adapter has a tokenizer or a chat template of its own, as most trainers save it."""
    return any((folder / name).exists() for name in (*VOCABULARIES, *TEMPLATES, CONFIG))


def without_code(config: Any) -> Any:
    """A config without `auto_map` at any depth, and without the names of a tokenizer's files: transformers would read
    a vocabulary from any path that `vocab_file` gives."""
    if isinstance(config, dict):
        dropped = {key for key, value in config.items() if key.endswith("_file") and isinstance(value, str)}
        return {key: without_code(value) for key, value in config.items() if key not in dropped | {"auto_map"}}
    return [without_code(value) for value in config] if isinstance(config, list) else config
