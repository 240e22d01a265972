"""A row as the readers return it, and the reason why one cannot be used."""

from collections.abc import Iterable
from typing import Any, NamedTuple

MAX_ROW = 8 << 20
"""Bytes of one row; a longer one is broken."""
MAX_READ = 64 << 20
"""Bytes that are read in search of a row's end. If there is none, the file is refused: it does not contain rows."""

NOT_UTF_8 = "not UTF-8"
"""What every reader says of such a row."""
AS_UTF_8 = (
    "Save the file as UTF-8 (in Excel: CSV UTF-8), or convert it from the encoding that it has: "
    "iconv -f WINDOWS-1250 -t UTF-8 OLD > NEW (1250: Central Europe, 1251: Cyrillic, 1252: Western Europe, "
    "1253: Greek, 1254: Turkish; MACINTOSH, GB18030, SHIFT_JIS). "
)


class Broken(Exception):
    """Why a row cannot be used. The text is logged: it contains no more of the data than `shown` returns."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


Row = tuple[int, dict[str, Any] | Broken]
"""The line at which the row begins (Parquet: the row), from 1, and its columns."""


class Unread(NamedTuple):
    """What a row has in a column that cannot hold text: no value, but its type."""

    type: str


_NAMES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "text", dict: "an object"}


def shown(value: object, length: int = 60) -> str:
    """A name from the data for a log: quoted, short and without control characters."""
    return f"'{_clean(str(value), length)}'"


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names from the data in one line, as `shown` formats them, without the quotes."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(_clean(name, 80) for name in every[:most]) + more


def _clean(text: str, length: int) -> str:
    clean = "".join(c if c.isprintable() else "?" for c in text[:length])
    return f"{clean}…" if len(text) > length else clean


def kind_name(value: object) -> str:
    """A JSON value's type in words."""
    if isinstance(value, Unread):
        return shown(value.type)
    return _NAMES.get(type(value), "a list" if isinstance(value, list) else f"a {type(value).__name__}")
