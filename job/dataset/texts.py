"""A text of a row: as it is, or the reason why it cannot be used."""

from typing import Any

from job.dataset.rows import Broken, kind_name, shown


def text_of(row: dict[str, Any], column: str) -> str:
    """The text of a column. Raises Broken."""
    value = row.get(column)
    if value is None:
        raise Broken(f"column {shown(column)} is missing or null")
    return clean(value, f"column {shown(column)}")


def optional(row: dict[str, Any], column: str | None) -> str:
    """The text of a column that may be missing or empty."""
    value = row.get(column) if column else None
    return "" if value is None or value == "" else clean(value, f"column {shown(column)}", may_be_empty=True)


def clean(value: Any, where: str, *, may_be_empty: bool = False) -> str:
    """A text without anything that no tokenizer takes. Raises Broken."""
    if not isinstance(value, str):
        raise Broken(f"{where} contains {kind_name(value)}, not text")
    if not may_be_empty and not value.strip():
        raise Broken(f"{where} is empty")
    if "\0" in value:
        raise Broken(f"{where} contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Broken(f"{where} is not UTF-8, or contains half of a surrogate pair") from error
    return value
