"""Reads a spec's file, YAML 1.2 or JSON."""

import json
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node

from job.errors import SpecInvalid
from job.redaction import redact
from job.spec.faults import shown_key

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
HINT = "docs/spec.md and `python -m job schema` list every field and the values it accepts."


def _refused(message: str) -> SpecInvalid:
    return SpecInvalid(redact(message), hint=HINT)


def read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise _refused(f"the spec {path} does not exist") from error
    except OSError as error:
        raise _refused(f"the spec {path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise _refused(f"the spec {path} has more than {MAX_BYTES} bytes; name the data, do not include it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"the spec {path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    try:
        data = from_json(text) if path.suffix.lower() == ".json" else _from_yaml(text)
    except Unreadable as error:
        raise _refused(f"the spec {path} cannot be read: {error}") from error
    except RecursionError as error:
        raise _refused(f"the spec {path} cannot be read: it is nested too deeply") from error
    if data is None:
        raise _refused(f"the spec {path} is empty; it needs at least model and dataset")
    if not isinstance(data, dict):
        raise _refused(f"the spec {path} is not a mapping; write `model: {{id: owner/name}}` and so on")
    return data


class Unreadable(ValueError):
    """The file is not valid YAML or JSON. The message gives the place."""


def from_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise Unreadable(f"the key {shown_key(key)} is there twice")
            seen[key] = value
        return seen

    try:
        return _plain(json.loads(text, object_pairs_hook=unique)) if text.strip() else None
    except Unreadable:
        raise
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise Unreadable("a number has too many digits") from error


def _from_yaml(text: str) -> Any:
    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise Unreadable("it is nested too deeply")
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise Unreadable(
                    f"line {line}: aliases (*{shown_key(event.anchor)}) are not supported; write the value out"
                )
        data = _plain(YAML(typ="safe", pure=True).load(text))
        for section in _empty_sections(YAML(typ="safe", pure=True).compose(text)):
            data[section] = ""
        return data
    except DuplicateKeyError as error:
        key = re.match(r'found duplicate key "(.*?)"', str(error.problem), re.S)
        raise Unreadable(f"{_mark(error)}the key {shown_key(key[1]) if key else ''} is there twice") from error
    except MarkedYAMLError as error:
        raise Unreadable(f"{_mark(error)}{error.problem or error.context}") from error
    except YAMLError as error:
        raise Unreadable("it has characters that YAML does not allow") from error
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable("it contains an invalid number or date") from error


def _mark(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _empty_sections(root: Node | None) -> list[str]:
    """Sections without content, which YAML reads as null: for `training` that would mean no training."""
    pairs = root.value if isinstance(root, MappingNode) else []
    return [key.value for key, value in pairs if value.value == "" and value.tag == "tag:yaml.org,2002:null"]


def _plain(value: Any, depth: int = 0) -> Any:
    """The value with keys and bytes as text, as in JSON."""
    if depth > MAX_DEPTH:
        raise Unreadable("it is nested too deeply")
    if isinstance(value, dict):
        return {str(_plain(key, depth)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str) and not is_unicode(value):
        raise Unreadable("it contains half of a surrogate pair, which is not valid text")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def is_unicode(text: str) -> bool:
    """Whether a string can be encoded: JSON's escapes and the environment's raw bytes can give strings that cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)
