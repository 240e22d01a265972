"""Lays values over a spec's file: the environment's, then those of the command line.

A variable's name is the path, in any case, with `__` between its parts: FINETUNE__TRAINING__LEARNING_RATE=1e-4.
A value that is JSON is read as JSON, so a list is set as a whole; anything else is text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from job.errors import UsageInvalid
from job.nearest import nearest
from job.spec.faults import Fault, shown_key, shown_path
from job.spec.schema import Keys, every_field, last_part, nodes_at
from job.spec.source import Unreadable, from_json, is_unicode

PREFIX = "FINETUNE__"
OTHERS = (
    "FINETUNE_SPEC", "FINETUNE_WORK", "FINETUNE_LLAMA", "FINETUNE_GPU", "FINETUNE_JOB_NAME", "FINETUNE_LEASE_TTL_S",
    "FINETUNE_DISK_LIMIT", "FINETUNE_PRICE_PER_HOUR", "FINETUNE_MAX_COST", "FINETUNE_DISK_FOLDERS", "FINETUNE_INPUTS",
    "FINETUNE_RETRY_S", "FINETUNE_WEBHOOK_URL", "FINETUNE_TERMINATION_LOG", "FINETUNE_IMAGE", "FINETUNE_PUSH_CONFIG",
    "FINETUNE_CACHE", "FINETUNE_DEMO", "FINETUNE_E2E_HOST", "FINETUNE_ALLOW_PRIVATE_HOSTS",
)  # fmt: skip
"""The variables that set no field (docs/environment.md)."""
_OF_A_SERVICE = re.compile(r"_(PORT|SERVICE_HOST|SERVICE_PORT)(_|\Z)")
"""What Kubernetes adds for a Service, which may be called finetune."""


class Assignment(NamedTuple):
    """A field's path, its value as text, and the option that gives it."""

    path: str
    value: str
    option: str = "--set"


def assignments(texts: Sequence[str]) -> list[Assignment]:
    """`training.learning_rate=1e-4` and the like. Raises UsageInvalid."""
    found = []
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or not path.strip():
            raise UsageInvalid(f"--set: {text[:80]!r} does not set a field", hint="Write --set section.field=value.")
        found.append(Assignment(path.strip().lower(), value))
    return found


def overlay(
    data: dict[str, Any], environ: Mapping[str, str], given: Sequence[Assignment] = ()
) -> tuple[dict[Keys, str], list[Fault]]:
    """Puts the values into `data`; of two for one place the last of `given` counts. Returns the variable or the option
    that set each place, and the faults."""
    origins: dict[Keys, str] = {}
    faults = [
        Fault((), f"{shown_key(name)} -> not a variable that is read; did you mean {meant}?")
        for name, meant in misspelt(environ)
    ]
    names = (name for name in environ if name.upper().startswith(PREFIX))
    for name in sorted(names, key=lambda name: (name.count("__"), name)):
        keys: Keys = tuple(name[len(PREFIX) :].lower().split("__"))
        if not all(keys):
            problem = f"a name is missing; write {PREFIX}SECTION__FIELD"
        elif keys in origins:
            problem = f"{origins[keys]} sets the same; write one of the two"
        elif not is_unicode(name + environ[name]):
            problem = "not UTF-8 text; write it as UTF-8"
        else:
            problem = _put(data, keys, from_text(environ[name], keys), origins, PREFIX)
        if problem:
            faults.append(Fault((), f"{shown_key(name)} -> {problem}"))
        else:
            origins[keys] = name
    for one in given:
        keys, name = tuple(one.path.split(".")), f"{one.option} {one.path}"
        if not all(keys):
            problem = "a name is missing; write section.field=value"
        else:
            problem = _put(data, keys, from_text(one.value, keys), origins)
        if problem:
            faults.append(Fault((), f"{one.option} {shown_key(one.path)} -> {problem}"))
        else:
            origins[keys] = name if one.option in ("--set", "--sweep") else one.option
    return origins, faults


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each variable that is not read, but almost has the name of one that is, with that name: with one underscore, or
    with a letter too few."""
    start, known = PREFIX.rstrip("_"), set(OTHERS)
    for name in sorted(environ):
        upper = name.upper()
        first, _, rest = upper.partition("_")
        if upper.startswith(PREFIX) or upper in known or not rest or _OF_A_SERVICE.search(upper):
            continue
        if first == start:
            fields = {PREFIX + path.upper().replace(".", "__"): path for path in every_field()}
            whole = nearest(upper, [*OTHERS, *fields], most=1, cutoff=0.9)
            last = [one for one, path in fields.items() if last_part(path).upper() == rest and "_" in rest]
            if found := whole or last[:1]:
                yield name, found[0]
        elif rest.startswith("_") and nearest(first, [start], cutoff=0.8):
            yield name, PREFIX + rest.lstrip("_")


def from_text(text: str, keys: Keys) -> Any:
    """The value, parsed if it is JSON; for a field of text, `42` and `true` stay text."""
    try:
        value = from_json(text)
    except (Unreadable, RecursionError):
        return text
    if value is None:
        return None if text.strip() else text
    kinds = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "list": "array", "dict": "object"}
    wanted = {node.get("type") for node in nodes_at(keys)}
    return text if "string" in wanted and kinds[type(value).__name__] not in wanted | {"string"} else value


def _put(data: dict[str, Any], keys: Keys, value: Any, origins: Mapping[Keys, str], prefix: str = "") -> str:
    """Sets one value. Returns why it cannot be set, or an empty text. `prefix`: of the names of variables."""
    here = data
    for depth, key in enumerate(keys[:-1], 1):
        child = here.get(str(key))
        if child is None and keys[:depth] in origins:
            return f"{origins[keys[:depth]]} is null; write one of the two"
        if child is not None and not isinstance(child, dict):
            what = "a list" if isinstance(child, list) else "not a mapping"
            whole = prefix + "__".join(map(str, keys[:depth])).upper() if prefix else shown_path(keys[:depth])
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
