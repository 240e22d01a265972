"""Reads a spec's file, YAML 1.2 or JSON, and lays the environment's values over it.

A variable's name is the path, in any case, with `__` between its parts: FINETUNE__TRAINING__LEARNING_RATE=1e-4.
A value that is JSON is read as JSON, so a list is set as a whole; anything else is text.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node

from job.errors import SpecInvalid
from job.redaction import redact
from job.spec.faults import Fault, shown_key, shown_path
from job.spec.schema import Keys, nodes_at

PREFIX = "FINETUNE__"
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
        data = _from_json(text) if path.suffix.lower() == ".json" else _from_yaml(text)
    except _Unreadable as error:
        raise _refused(f"the spec {path} cannot be read: {error}") from error
    except RecursionError as error:
        raise _refused(f"the spec {path} cannot be read: it is nested too deeply") from error
    if data is None:
        raise _refused(f"the spec {path} is empty; it needs at least model and dataset")
    if not isinstance(data, dict):
        raise _refused(f"the spec {path} is not a mapping; write `model: {{id: owner/name}}` and so on")
    return data


class _Unreadable(ValueError):
    """The file is not valid YAML or JSON. The message gives the place."""


def _from_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise _Unreadable(f"the key {shown_key(key)} is there twice")
            seen[key] = value
        return seen

    try:
        return _plain(json.loads(text, object_pairs_hook=unique)) if text.strip() else None
    except _Unreadable:
        raise
    except json.JSONDecodeError as error:
        raise _Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except ValueError as error:
        raise _Unreadable("a number has too many digits") from error


def _from_yaml(text: str) -> Any:
    try:
        depth = 0
        for event in YAML(typ="safe", pure=True).parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise _Unreadable("it is nested too deeply")
            if isinstance(event, AliasEvent):
                line = event.start_mark.line + 1
                raise _Unreadable(
                    f"line {line}: aliases (*{shown_key(event.anchor)}) are not supported; write the value out"
                )
        data = _plain(YAML(typ="safe", pure=True).load(text))
        for section in _empty_sections(YAML(typ="safe", pure=True).compose(text)):
            data[section] = ""
        return data
    except DuplicateKeyError as error:
        key = re.match(r'found duplicate key "(.*?)"', str(error.problem), re.S)
        raise _Unreadable(f"{_mark(error)}the key {shown_key(key[1]) if key else ''} is there twice") from error
    except MarkedYAMLError as error:
        raise _Unreadable(f"{_mark(error)}{error.problem or error.context}") from error
    except YAMLError as error:
        raise _Unreadable("it has characters that YAML does not allow") from error
    except _Unreadable:
        raise
    except ValueError as error:
        raise _Unreadable("it contains an invalid number or date") from error


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
        raise _Unreadable("it is nested too deeply")
    if isinstance(value, dict):
        return {str(_plain(key, depth)): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, str) and not _is_unicode(value):
        raise _Unreadable("it contains half of a surrogate pair, which is not valid text")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _is_unicode(text: str) -> bool:
    """Whether a string can be encoded: JSON's escapes and the environment's raw bytes can give strings that cannot."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def overlay(data: dict[str, Any], environ: Mapping[str, str]) -> tuple[dict[Keys, str], list[Fault]]:
    """Puts the environment's values into `data`. Returns the variable that set each place, and the faults."""
    origins: dict[Keys, str] = {}
    faults = []
    names = (name for name in environ if name.upper().startswith(PREFIX))
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        keys: Keys = tuple(name[len(PREFIX) :].lower().split("__"))
        if not all(keys):
            problem = f"a name is missing; write {PREFIX}SECTION__FIELD"
        elif keys in origins:
            problem = f"{origins[keys]} sets the same; write one of the two"
        elif not _is_unicode(name + environ[name]):
            problem = "not UTF-8 text; write it as UTF-8"
        else:
            problem = _put(data, keys, _from_text(environ[name], keys), origins)
        if problem:
            faults.append(Fault((), f"{shown_key(name)} -> {problem}"))
        else:
            origins[keys] = name
    return origins, faults


def _from_text(text: str, keys: Keys) -> Any:
    """The value, parsed if it is JSON; for a field of text, `42` and `true` stay text."""
    try:
        value = _from_json(text)
    except (_Unreadable, RecursionError):
        return text
    if value is None:
        return None if text.strip() else text
    kinds = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "list": "array", "dict": "object"}
    wanted = {node.get("type") for node in nodes_at(keys)}
    return text if "string" in wanted and kinds[type(value).__name__] not in wanted | {"string"} else value


def _put(data: dict[str, Any], keys: Keys, value: Any, origins: Mapping[Keys, str]) -> str:
    """Sets one value. Returns why it cannot be set, or an empty text."""
    here = data
    for depth, key in enumerate(keys[:-1], 1):
        child = here.get(str(key))
        if child is None and keys[:depth] in origins:
            return f"{origins[keys[:depth]]} is null; write one of the two"
        if child is not None and not isinstance(child, dict):
            what = "a list" if isinstance(child, list) else "not a mapping"
            whole = PREFIX + "__".join(map(str, keys[:depth])).upper()
            return f"{shown_path(keys[:depth])} is {what} here; set it as a whole, as JSON, in {whole}"
        if child is None:
            here[str(key)] = child = {}
        here = child
    _merge(here, str(keys[-1]), value)
    return ""


def _merge(into: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(into.get(key), dict):
        for name, item in value.items():
            _merge(into[key], name, item)
    else:
        into[key] = value
