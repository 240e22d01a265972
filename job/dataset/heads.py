"""The first rows of a data set: which columns they have and what those hold."""

import json
from typing import Any

from job.dataset.rows import Unread, kind_name, listed, shown


class Heads:
    """Columns by their names, which are compared in any case. `renames`: what the spec calls them."""

    def __init__(self, rows: list[dict[str, Any]], renames: dict[str, str]) -> None:
        self.rows, self.renames = rows, renames
        self.names = list(dict.fromkeys(column for row in rows for column in row))
        self._known: dict[str, str] = {}
        for name in self.names:
            self._known.setdefault(name.strip().lower(), name)

    def column(self, *names: str) -> str | None:
        """The data's column for the first of `names`: the renamed one, or the first of `names` that the data has."""
        return self.renames.get(names[0]) or next(iter(self.all(*names)), None)

    def all(self, *names: str) -> list[str]:
        """The columns with one of these names."""
        return [self._known[name] for name in names if name in self._known]

    def has(self, *names: str) -> bool:
        """Whether there is a column with one of these names."""
        return bool(self.all(*names))

    def values(self, column: str) -> list[Any]:
        """What the first rows have in a column, but null."""
        return [row[column] for row in self.rows if row.get(column) is not None]

    def holds_text(self, column: str) -> bool:
        """Whether a column is text, and not only numbers."""
        held = self.values(column)
        return bool(held) and all(isinstance(value, str) for value in held) and not all(map(_is_number, held))

    def holds_lists(self, column: str) -> bool:
        """Whether a value is a list."""
        return any(isinstance(value, list) for value in self.values(column))

    def holds_turns(self, column: str) -> bool:
        """Whether a column holds the turns of a conversation, also as JSON in a text."""
        return bool(self.first_roles(column))

    def first_roles(self, column: str) -> set[str]:
        """Who speaks first in the conversations of a column; empty if it holds none."""
        first = [turn for turn in map(_first, self.values(column)) if _is_turn(turn)]
        return {str(turn.get("role") or turn.get("from")) for turn in first}

    def holds_content(self, column: str) -> bool:
        """Whether a column holds more than numbers, truth values and times: text, lists, objects, bytes."""
        return any(is_content(value) for value in self.values(column))

    def described(self) -> str:
        """The columns in one line, each with the type of its first value."""
        return listed((f"{shown(name)} ({self._type(name)})" for name in self.names), most=30)

    def _type(self, column: str) -> str:
        return next(map(kind_name, self.values(column)), "null")


def is_content(value: Any) -> bool:
    """Whether a value is more than a number, a truth value or a time."""
    if value is None or value in ([], {}):
        return False
    if isinstance(value, Unread):
        return not value.type.startswith(("timestamp", "date", "time", "duration", "decimal"))
    return not (isinstance(value, bool | int | float) or value == "" or (isinstance(value, str) and _is_number(value)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first(value: Any) -> Any:
    """The first element of a list, or of a list written as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value[0] if isinstance(value, list) and value else None


def _is_turn(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool({"role", "from"} & value.keys()) and bool({"content", "value"} & value.keys())
    )
