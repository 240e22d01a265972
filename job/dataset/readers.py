"""Rows of a file of any format: chooses the reader, and reads JSON Lines and plain text.

A line ends only with \\n: U+2028 and similar characters are text. Objects may take several lines, if the first does. Of
two equal keys in an object the last one counts, as RFC 8259 allows. In plain text a row is a paragraph, and blank lines
separate paragraphs: books would not make sense with one line a row.
"""

import io
import json
import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from job.dataset.arrow_rows import arrow_rows
from job.dataset.csv_rows import csv_rows
from job.dataset.json_document import list_rows, object_rows, wrapped_rows
from job.dataset.opening import ARROW_FILE, ARROW_STREAM, BOM, PARQUET, decoded, lines, opened
from job.dataset.parquet_rows import parquet_rows
from job.dataset.rows import MAX_ROW, Broken, Row, kind_name
from job.errors import DataInvalid, StorageFailed, named
from job.spec.places import FORMATS, suffix_format

_LIST_START = re.compile(rb"\[\s*(\{|$)")
_LOOK, _TABLE_LINES = 1 << 16, 3
"""Bytes of a text that are looked at; lines of which a table has at least so many."""
_ROW_KEYS = {"messages", "conversations", "conversation", "prompt", "completion"}


def read_rows(path: Path, columns: set[str] | None = None) -> Generator[Row, None, None]:
    """The rows of one file in their order. `columns`: the columns that are needed, for formats that can skip others.

    Raises DataInvalid if the file cannot be read as rows at all, CredentialsRejected if permission is denied,
    StorageFailed if reading fails.
    """
    try:
        with opened(path) as file:
            head = file.peek(512)[:512]
            with closing(_reader(file, path, head, columns)) as rows:  # a reader that is left early frees its file
                yield from rows
    except PermissionError as error:
        raise named(error) from error
    except OSError as error:
        raise StorageFailed(f"cannot read {path}: {error.strerror or error}") from error


def _reader(file: io.BufferedReader, path: Path, head: bytes, columns: set[str] | None) -> Generator[Row, None, None]:
    kind = suffix_format(path.name)
    if head.startswith(PARQUET):
        return parquet_rows(file, path, columns)
    if head.startswith((ARROW_FILE, ARROW_STREAM)):
        return arrow_rows(file, path, head, columns)
    if kind is None and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        kind = "json"
    match kind:
        case "jsonl" | "json":
            return _json_rows(file, path, by_line=kind == "jsonl")
        case "csv":
            return csv_rows(file, path.name, delimiter="\t" if ".tsv" in path.name.lower() else None)
        case "txt":
            return text_rows(file, path.name)
        case "parquet":
            raise DataInvalid(f"{path.name} is not a Parquet file: it does not begin with PAR1")
        case "arrow":
            raise DataInvalid(
                f"{path.name} is not an Arrow file: it begins neither with ARROW1 nor as a stream does",
                hint="Write it again as Parquet: DATASET.to_parquet(FILE), or TABLE.to_parquet(FILE) in pandas.",
            )
    raise DataInvalid(
        f"{path.name}: the file name has no known suffix",
        hint=f"Use one of {', '.join('.' + suffix for suffix in FORMATS)}, each also with .gz.",
    )


def _json_rows(file: io.BufferedReader, path: Path, *, by_line: bool) -> Generator[Row, None, None]:
    """Rows of JSON Lines, of a list, of an object around a list, or of objects over several lines.

    They are told apart by the beginning of the file: a list in one line may be longer.
    """
    readers: dict[str, Any] = {"list": list_rows, "wrapped": wrapped_rows, "objects": object_rows, "lines": _line_rows}
    shape = _shape(_beginning(file), by_line=by_line)
    if shape == "columns":
        rewrite = f"pandas.read_json('{path.name}').to_json('rows.jsonl', orient='records', lines=True)"
        raise DataInvalid(f"{path.name} holds columns, not rows", hint=f"Write rows, with pandas: `{rewrite}`.")
    with opened(path) as again:
        yield from readers[shape](again, path.name)


def _beginning(file: io.BufferedReader) -> bytes:
    """As much as tells the shape: the first line and something of the second, or, if the first is not a value by
    itself, as much as a row may be long, which is a hundred times more."""
    head = file.read(_LOOK).removeprefix(BOM).lstrip()
    first, _, rest = head.partition(b"\n")
    try:
        _parsed(first)
    except Broken:
        rest = b""
    return head if rest.strip() else head + file.read(MAX_ROW - _LOOK)


def _shape(head: bytes, *, by_line: bool) -> Literal["lines", "list", "wrapped", "objects", "columns"]:
    first, _, rest = head.partition(b"\n")
    first, second = first.strip(), rest.lstrip().split(b"\n", 1)[0]
    if first[:1] not in (b"[", b"{") or (by_line and first.startswith(b"[") and not _LIST_START.match(first)):
        return "lines"
    try:
        value = _parsed(first)
    except Broken:
        value = None
    if first.startswith(b"["):
        return "list" if value is None or not second else "lines"
    if isinstance(value, dict):
        if not second and _is_of_columns(value):
            return "columns"
        return "wrapped" if not second and not by_line and _is_around_rows(value) else "lines"
    try:
        text = head.decode("utf-8", "replace")
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return "lines" if by_line or second.startswith(b"{") else "wrapped"
    behind = text[end:].lstrip()
    if not behind and _is_of_columns(value):
        return "columns"
    if not behind:
        is_row = by_line or _ROW_KEYS & value.keys()
        return "wrapped" if _is_around_rows(value) or not is_row else "objects"
    return "objects" if "\n" in text[:end] or behind.startswith(",") else "lines"


def _is_around_rows(value: dict[str, Any]) -> bool:
    """Whether an object is not a row but holds a list of them, which are not the turns of a conversation."""
    lists = [held for held in value.values() if isinstance(held, list) and held and isinstance(held[0], dict)]
    return bool(lists) and not _ROW_KEYS & value.keys() and not any({"role", "from"} & held[0].keys() for held in lists)


def _is_of_columns(value: dict[str, Any]) -> bool:
    """Whether an object is a table by columns: lists of the same length, or objects with the same numbers as keys, as
    pandas writes them."""
    lists = [column for column in value.values() if isinstance(column, list)]
    if lists and len(lists) == len(value):
        plain = all(isinstance(cell, str | int | float | None) for column in lists for cell in column)
        return plain and len(value) > 1 and len({len(column) for column in lists}) == 1 and len(lists[0]) > 1
    keys = {tuple(column) if isinstance(column, dict) else () for column in value.values()}
    return len(keys) == 1 and all(all(key.isdigit() for key in found) and len(found) > 1 for found in keys)


def _line_rows(file: io.BufferedReader, name: str) -> Generator[Row, None, None]:
    for number, line in lines(file, name):
        if isinstance(line, Broken):
            yield number, line
        elif line.strip():
            try:
                yield number, as_object(_parsed(line))
            except Broken as broken:
                yield number, broken


def _parsed(line: bytes) -> Any:
    text = decoded(line)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Broken(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise Broken("JSON nested too deeply") from error
    except ValueError as error:
        raise Broken("a number with too many digits") from error


def as_object(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object. Raises Broken."""
    if not isinstance(value, dict):
        raise Broken(f"the row is {kind_name(value)}, not an object")
    return value


def _is_table(head: bytes) -> bool:
    """Whether a text is a table, as Excel saves `Unicode Text`."""
    whole = head.splitlines()[: -1 if len(head) == _LOOK else None]
    tabs = [line.count(b"\t") for line in whole[: 10 * _TABLE_LINES]]
    return len(tabs) >= _TABLE_LINES and len(set(tabs)) == 1 and tabs[0] > 0


def text_rows(file: io.BufferedReader, name: str) -> Generator[Row, None, None]:
    """Paragraphs, as the column `text`, each with the number of its first line. Raises DataInvalid for a table."""
    if _is_table(file.peek(_LOOK)[:_LOOK]):
        raise DataInvalid(
            f"{name} is a table: each line has the same number of tabs",
            hint="Name it .tsv, and columns are read. If it is text, write it as JSON Lines, one object a line.",
        )
    start, size, parts = 0, 0, list[str]()
    broken: Broken | None = None
    for number, line in lines(file, name):
        if not isinstance(line, Broken) and not line.strip():
            if parts or broken:
                yield start, broken or {"text": "".join(parts).strip("\r\n")}
            size, parts, broken = 0, [], None
            continue
        if not parts and not broken:
            start = number
        try:
            if isinstance(line, Broken):
                raise line
            size += len(line)
            if size > MAX_ROW:
                raise Broken(f"a paragraph of more than {MAX_ROW >> 20} MiB; blank lines separate paragraphs")
            if not broken:
                parts.append(decoded(line))
        except Broken as fault:
            broken, parts = broken or Broken(f"line {number}: {fault.why}"), []
    if parts or broken:
        yield start, broken or {"text": "".join(parts).strip("\r\n")}
