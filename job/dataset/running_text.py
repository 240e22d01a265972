"""Writes a data set as one text, as it was written, to compute perplexity on."""

from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from job.artifacts import written_whole
from job.dataset.layouts import find_layout
from job.dataset.opening import decoded, lines, opened
from job.dataset.readers import read_rows
from job.dataset.rows import Broken, Row
from job.dataset.splits import local_files
from job.errors import DataInvalid
from job.spec.places import shown_place, suffix_format
from job.spec.sections import Dataset

_HEAD = 20
T = TypeVar("T")


def write_text(dataset: Dataset, path: Path, out: Path) -> Path:
    """Each row becomes a line, which restores the text that the rows were made from, with its empty lines. A plain text
    file is copied unchanged.

    Raises DataInvalid for a row that cannot be read or no text at all, NotFound for a split that does not exist.
    """
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as text:
        for file in local_files(dataset, path, dataset.split):
            for line in _plain(file) if suffix_format(file.name) == "txt" else _column(dataset, file):
                text.write(line + "\n")
    if not out.read_text(encoding="utf-8").strip():
        raise DataInvalid(f"evaluation.text: {shown_place(dataset.id)} contains no text")
    return out


def check_text(dataset: Dataset, path: Path) -> None:
    """Reads the beginning of each file. Raises DataInvalid and NotFound, as `write_text` would."""
    for file in local_files(dataset, path, dataset.split):
        if suffix_format(file.name) == "txt":
            with opened(file):
                continue
        with closing(read_rows(file)) as rows:
            _text_column(dataset, file, list(islice(rows, _HEAD)))


def _plain(path: Path) -> list[str]:
    with opened(path) as file:
        return [_decoded(line, path.name, number).rstrip("\r\n") for number, line in lines(file, path.name)]


def _decoded(line: bytes | Broken, name: str, number: int) -> str:
    try:
        return decoded(_whole(line, name, number))
    except Broken as fault:
        return _whole(fault, name, number)


def _column(dataset: Dataset, path: Path) -> list[str]:
    with closing(read_rows(path)) as rows:
        head = list(islice(rows, _HEAD))
        column = _text_column(dataset, path, head)
        found = []
        for number, row in chain(head, rows):
            value = _whole(row, path.name, number).get(column)
            if value is not None and not isinstance(value, str):
                raise DataInvalid(f"evaluation.text: {path.name}, row {number}: {column} is not text")
            found.append((value or "").removesuffix("\n"))
        return found


def _text_column(dataset: Dataset, path: Path, head: list[Row]) -> str:
    good = [row for _, row in head if isinstance(row, dict)]
    if not good:
        raise DataInvalid(f"evaluation.text: {path.name} has no row that can be read")
    return find_layout(dataset, good, shown_place(dataset.id)).columns["text"]


def _whole(row: T | Broken, name: str, number: int) -> T:
    if isinstance(row, Broken):
        raise DataInvalid(f"evaluation.text: {name}, line {number}: {row.why}")
    return row
