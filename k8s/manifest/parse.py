"""Parses texts of the command line: sizes, references, tolerations, affinity."""

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from k8s.errors import SettingsInvalid
from k8s.manifest.settings import Reference, Scratch
from k8s.placement.nodes import Toleration, quantity

_TAINT = re.compile(r"([a-z0-9.-]{1,253}/)?[\w.-]{1,63}(=[\w.-]{0,63})?", re.ASCII)


def size(text: str, flag: str) -> int:
    """Bytes of `14Gi`, `60G`, `500Mi`. Raises SettingsInvalid."""
    try:
        return int(quantity(text))
    except ValueError as error:
        raise SettingsInvalid(f"{flag}: {text[:40]!r} is not a size", hint="Write e.g. 14Gi, 60G or 500Mi.") from error


def resources(
    cpu: float | None, memory: str | None, disk: str | None, cpu_limit: float | None = None
) -> dict[str, Any]:
    """The sizes that were given; the others are predicted."""
    found: dict[str, Any] = {}
    if cpu is not None:
        found["cpu"] = cpu
    if cpu_limit is not None:
        found["cpu_limit"] = cpu_limit
    if memory is not None:
        found["memory"] = size(memory, "--memory")
    if disk is not None:
        found["disk"] = size(disk, "--disk")
    return found


def scratch_of(text: str | None, storage_class: str | None) -> Scratch | None:
    return Scratch(size=size(text, "--scratch"), storage_class=storage_class) if text else None


def affinity_of(path: Path | None) -> dict[str, Any]:
    """The core/v1 Affinity in a file. Raises SettingsInvalid."""
    if path is None:
        return {}
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise SettingsInvalid(f"--affinity: {path} cannot be read", hint="Name a YAML file.") from error
    if not isinstance(found, dict) or set(found) - {"nodeAffinity", "podAffinity", "podAntiAffinity"}:
        raise SettingsInvalid(
            f"--affinity: {path} does not contain an affinity",
            hint="Write nodeAffinity, podAffinity or podAntiAffinity.",
        )
    return dict(found)


def reference(text: str | None, flag: str) -> Reference | None:
    """`NAME/KEY`. Raises SettingsInvalid."""
    if text is None:
        return None
    name, slash, key = text.partition("/")
    if not slash or not key:
        raise SettingsInvalid(f"{flag}: {text[:60]!r} is not a reference", hint=f"Write {flag} NAME/KEY.")
    return Reference(name=name, key=key)


def toleration(text: str) -> Toleration:
    """`key`, `key=value`, `key=value:NoSchedule`. Raises SettingsInvalid."""
    pair, _, effect = text.partition(":")
    key, equals, value = pair.partition("=")
    if not _TAINT.fullmatch(pair) or effect not in ("", "NoSchedule", "NoExecute", "PreferNoSchedule"):
        raise SettingsInvalid(
            f"--toleration: {text[:80]!r} is not a toleration", hint="Write key, key=value or key=value:NoSchedule."
        )
    return Toleration(key, value if equals else None, effect or None)
