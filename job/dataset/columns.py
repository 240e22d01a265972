"""Columns of Parquet and Arrow: which of them can be read, and how a batch becomes rows."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.dataset.rows import Broken, Unread, shown
from job.errors import DataInvalid


@contextmanager
def seekable(file: io.BufferedReader, path: Path) -> Iterator[Any]:
    """What a reader that seeks can open: the path or, if the file is compressed, a temporary file."""
    if isinstance(file.raw, io.FileIO):
        yield path
        return
    with tempfile.TemporaryFile() as source:
        while block := file.read(1 << 20):
            source.write(block)
        source.seek(0)
        yield source


def split_columns(schema: Any, columns: set[str] | None, name: str) -> tuple[list[str], dict[str, Unread]]:
    """The columns to read, and those that cannot hold text: images, times.

    `columns`: those that are needed; None for all. Raises DataInvalid if one of them cannot hold text.
    """
    fields = [field for field in schema if columns is None or field.name in columns]
    unread = {field.name: Unread(str(field.type)) for field in fields if not _could_hold_text(field.type)}
    if unread and columns is not None:
        column, kind = next(iter(unread.items()))
        cast = '.str.decode("utf-8")' if "binary" in kind.type else ".astype(str)"
        raise DataInvalid(
            f"{name}: column {shown(column)} contains {shown(kind.type)}, not text",
            hint=f"Store it as text, in pandas: rows[{column!r}] = rows[{column!r}]{cast}; or name another column in "
            "dataset.text or dataset.columns.",
        )
    return [field.name for field in fields if field.name not in unread], unread


def _could_hold_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        if {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"}:
            return False  # an image or a sound of `datasets`
        return any(_could_hold_text(kind.field(i).type) for i in range(kind.num_fields))
    if types.is_map(kind):
        return _could_hold_text(kind.item_type)
    if hasattr(kind, "value_type"):  # lists of any kind, dictionaries, run-end encoded columns
        return _could_hold_text(kind.value_type)
    plain = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
    )
    return types.is_null(kind) or any(is_it(kind) for is_it in plain)


def rows_of_batch(batch: Any) -> Iterator[dict[str, Any] | Broken]:
    """The rows; one that is not UTF-8 or names a key twice costs itself alone."""
    try:
        yield from _plain(batch)
    except (UnicodeDecodeError, KeyError):
        for index in range(batch.num_rows):
            try:
                yield from _plain(batch.slice(index, 1))
            except UnicodeDecodeError as error:
                yield Broken(f"not UTF-8: byte {error.start + 1} of a column")
            except KeyError:
                yield Broken("a map has a key twice")


def _plain(batch: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    return [{column: _without_nulls(value) for column, value in row.items()} for row in rows]


def _without_nulls(value: Any) -> Any:
    """A value without the null fields of its structs: one row's fields are null in all rows that lack them, such as the
    arguments of another tool."""
    if isinstance(value, dict):
        return {name: _without_nulls(held) for name, held in value.items() if held is not None}
    return [_without_nulls(held) for held in value] if isinstance(value, list) else value
