"""Reads the `configs:` of a data set card: the files of each configuration and split.

https://huggingface.co/docs/hub/datasets-manual-configuration
"""

import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from job.bounds import Exceeded, bounded
from job.dataset.rows import listed
from job.errors import NotFound
from job.logs import log

_MAX_DEPTH = 50
CARD_S, CARD_MEMORY = 20, 256 << 20
_FRONT = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


def card_configs(readme: str | None) -> list[dict[str, Any]]:
    """The `configs` list of a README's YAML head; empty if there is none or it cannot be read."""
    configs = card_head(readme).get("configs")
    return [config for config in configs if isinstance(config, dict)] if isinstance(configs, list) else []


def card_head(readme: str | None) -> dict[str, Any]:
    """The YAML head of a README; empty if there is none or it cannot be read, or not in the time and memory that a
    card may take: aliases and merges make a small document large."""
    head = _FRONT.match(readme or "")
    if head is None:
        return {}
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        if _depth(head[1]) > _MAX_DEPTH:
            raise ValueError("brackets nested too deeply")
        with bounded(CARD_S, CARD_MEMORY):
            card = YAML(typ="safe", pure=True).load(head[1])
    except (YAMLError, ValueError, RecursionError, Exceeded) as error:
        log.warning("data.card_ignored", why=f"the card's YAML cannot be read: {str(error)[:200]}")
        return {}
    return card if isinstance(card, dict) else {}


def _depth(text: str) -> int:
    """How deep the brackets are nested, ignoring quotes: a parser needs minutes for thousands."""
    opened = deepest = 0
    for mark in re.findall(r"[\[\]{}]", text):
        opened = opened + 1 if mark in "[{" else max(opened - 1, 0)
        deepest = max(deepest, opened)
    return deepest


def chosen_config(configs: list[dict[str, Any]], wanted: str | None, name: str) -> dict[str, Any]:
    """The configuration of that name, or the default one. Raises NotFound, with the names of those that exist."""
    names = [_word(config.get("config_name"), "default") for config in configs]
    if wanted in names:
        return configs[names.index(wanted)]
    if wanted is None:
        for index, config in enumerate(configs):
            if config.get("default") is True or names[index] == "default" or len(configs) == 1:
                return config
    what = f"has no configuration {wanted!r}" if wanted else "has several configurations, and none is its default"
    raise NotFound(f"{name} {what}; it has {listed(names)}", hint="Set dataset.config to one of them.")


def split_files(config: dict[str, Any], names: list[str]) -> dict[str, list[str]]:
    """Split -> the files that the configuration's patterns match. Empty if it has no `data_files`."""
    patterns = config.get("data_files")
    folder = data_dir(config) or "."
    by_split: dict[str, list[str]] = {}
    if isinstance(patterns, dict):
        patterns = [{"split": split, "path": path} for split, path in patterns.items()]
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        held = pattern if isinstance(pattern, dict) else {"split": "train", "path": pattern}
        paths = held.get("path")
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                by_split.setdefault(_word(held.get("split"), "train"), []).extend(_matching(f"{folder}/{path}", names))
    return {split: list(dict.fromkeys(files)) for split, files in by_split.items()}


def data_dir(config: dict[str, Any]) -> str:
    """The folder with a configuration's files; '' if it names none."""
    return _word(config.get("data_dir"), "").strip("./")


def _word(value: Any, default: str) -> str:
    """A scalar as text. Never a list: a list of aliases is small in YAML but can fill the memory as text."""
    return str(value) if isinstance(value, str | int) else default


def _matching(pattern: str, names: list[str]) -> list[str]:
    steps = PurePosixPath(pattern).parts
    return [name for name in names if _matches(steps, name.split("/"))]


def _matches(steps: tuple[str, ...], parts: list[str]) -> bool:
    """Whether a pattern matches, folder by folder, so that a hostile pattern with many stars is not slower than
    others."""
    reached = {0}
    for step in steps:
        if "**" in step and reached:
            reached = set(range(min(reached), len(parts) + 1))
        if step != "**":
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], step)}
    return len(parts) in reached
