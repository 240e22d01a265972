"""What a Job was sent with that is not what would be sent now."""

from collections.abc import Iterator
from typing import Any

from k8s.placement.nodes import quantity

MOST = 8
"""Fields that are named."""


def note_on(found: Any, wanted: Any) -> str:
    """A sentence about a Job that exists, if its settings are others than those of one to send; empty if they agree.
    What the API server or a webhook has added does not count."""
    parts = {"metadata": ("labels", "annotations"), "spec": [key for key in wanted["spec"] if key != "suspend"]}
    named = [
        path
        for part, keys in parts.items()
        for key in keys
        for path in differing(found[part].get(key), wanted[part].get(key), key)
    ]
    if not named:
        return ""
    shown = ", ".join(path.removeprefix("template.spec.") for path in named[:MOST])
    return f"it was sent with other settings, and keeps them: {shown}{' …' if len(named) > MOST else ''}"


def differing(found: Any, wanted: Any, path: str) -> Iterator[str]:
    """The fields of `wanted` that `found` has otherwise; lists of named things by their names."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key, value in wanted.items():
            yield from differing(found.get(key), value, f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(found, list):
        if (there := _by_name(found)) is not None and (asked := _by_name(wanted)) is not None:
            yield from (f"{path}.{name}" for name in there if name not in asked)
            yield from differing(there, asked, path)
        elif len(found) != len(wanted) or any(any(differing(*pair, path)) for pair in zip(found, wanted, strict=True)):
            yield path
    elif not _same(found, wanted, path):
        yield path


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    named = {one["name"]: one for one in items if isinstance(one, dict) and "name" in one}
    return named if items and len(named) == len(items) else None


def _same(found: Any, wanted: Any, path: str) -> bool:
    if found is not None and (".resources." in path or ".sizeLimit" in path):
        return quantity(str(found)) == quantity(str(wanted))
    return str(found) == str(wanted) or (found is None and wanted in ("", {}, [], False))
