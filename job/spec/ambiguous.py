"""Finds names of the Hub that are those of files or folders in the current folder too.

Which of the two is meant must not depend on where a command is started: the spec has to say it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from job.spec.faults import Fault, value_at
from job.spec.places import HUB, Where, data_place, model_place
from job.spec.schema import Keys


def ambiguous(data: dict[str, Any]) -> Iterator[Fault]:
    """A fault for each such name in a valid spec's data."""
    for keys, place_of in _names(data):
        value = value_at(data, keys)
        if isinstance(value, str) and not value.startswith(HUB) and place_of(value) == "hub" and _is_here(value):
            what = "folder" if Path(value).is_dir() else "file"
            yield Fault(keys, f"a {what} here has this name too; write ./{value} for it, or {HUB}{value} for the Hub's")


def _names(data: dict[str, Any]) -> Iterator[tuple[Keys, Callable[[str], Where]]]:
    yield ("model", "id"), model_place
    yield ("model", "adapter"), model_place
    sets = data.get("dataset")
    yield from ((("dataset", number, "id"), data_place) for number in range(len(sets) if isinstance(sets, list) else 0))
    yield ("dataset", "id"), data_place
    yield ("evaluation", "text", "id"), data_place


def _is_here(name: str) -> bool:
    with suppress(OSError, ValueError):
        return Path(name).exists()
    return False
