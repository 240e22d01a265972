"""A row as the readers give it, and what is wrong with one that cannot be used."""

from collections.abc import Iterable
from typing import Any

MAX_ROW = 8 << 20
"""Bytes of one row; a longer one is broken."""
MAX_READ = 64 << 20
"""Bytes that are read in search of a row's end; beyond, the file is refused: it does not hold rows."""


class Broken(Exception):
    """Why a row cannot be used. It goes into logs: never more of the data than `shown` gives."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


Row = tuple[int, dict[str, Any] | Broken]
"""The line at which the row begins (Parquet: the row), from 1, and its columns."""

_NAMES = {type(None): "null", bool: "a truth value", int: "a number", float: "a number", str: "text", dict: "an object"}


def shown(value: object, length: int = 60) -> str:
    """A name from the data, quoted, short and without control characters, fit for a log."""
    return f"'{_clean(str(value), length)}'"


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names from the data in one line, as `shown` makes them, without the quotes."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(_clean(name, 80) for name in every[:most]) + more


def _clean(text: str, length: int) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text[:length])
    return f"{clean}…" if len(text) > length else clean


def kind_name(value: object) -> str:
    """What a JSON value is, in words."""
    return _NAMES.get(type(value), "a list" if isinstance(value, list) else f"a {type(value).__name__}")
