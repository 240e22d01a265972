"""CSV (RFC 4180): a header, quotes, line breaks inside quotes. The delimiter is what a first line says (`sep=;`, from
Excel), else it is detected in the header."""

import csv
import io
import re
from collections import deque
from collections.abc import Generator, Iterator

from job.dataset.opening import lines
from job.dataset.rows import AS_UTF_8, MAX_ROW, NOT_UTF_8, Broken, Row, shown
from job.errors import DataInvalid

_COST_OF_A_LINE = 64
"""The fixed cost of reading a line twice, in characters."""

_SEPARATOR = re.compile(r'"?sep=([^\w\s"]|\t)"?', re.IGNORECASE)

_Line = tuple[int, str, Broken | None]


def csv_rows(file: io.BufferedReader, name: str, delimiter: str | None = None) -> Generator[Row, None, None]:
    """The rows, each with the number of its first line. Raises DataInvalid if the header cannot be used."""
    csv.field_size_limit(MAX_ROW)
    records = _Records(file, name, delimiter)
    header = next(records, None)
    if header is None:
        return
    line, names = header
    if isinstance(names, Broken):
        hint = AS_UTF_8 if NOT_UTF_8 in names.why else "The first line names the columns."
        if "new-line character" in names.why:
            hint = f"Its lines end in CR alone, as old Macs write them: tr '\\r' '\\n' < {name} > NEW"
        raise DataInvalid(f"{name}, line {line}: the CSV header cannot be read: {names.why}", hint=hint.strip())
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataInvalid(
            f"{name}: the CSV header names {', '.join(map(shown, twice[:5]))} twice",
            hint="Name each column once in the first line.",
        )
    for line, fields in records:
        if isinstance(fields, Broken):
            yield line, fields
        elif len(fields) != len(names):
            yield line, Broken(f"the row has {len(fields)} fields, but the header has {len(names)}")
        else:
            yield line, dict(zip(names, fields, strict=True))


class _Records:
    """The records of a file; blank lines are skipped.

    An unclosed quote swallows the lines after it. These are read again, so that one bad line costs one row. The number
    of bytes read twice is limited: a hostile file would otherwise take quadratic time.
    """

    def __init__(self, file: io.BufferedReader, name: str, delimiter: str | None) -> None:
        self._lines = lines(file, name)
        self._again: deque[_Line] = deque()
        self._may_read_twice = 4 * MAX_ROW
        self._delimiter: str | None = None
        self._preferred = delimiter

    def __iter__(self) -> Iterator[tuple[int, list[str] | Broken]]:
        return self

    def __next__(self) -> tuple[int, list[str] | Broken]:
        while True:
            taken: list[_Line] = []
            self._see_delimiter()
            try:
                fields = next(csv.reader(self._taking(taken), delimiter=self._delimiter or ",", strict=True))
            except csv.Error as error:
                self._give_back(taken[1:])
                return taken[0][0], taken[0][2] or Broken(f"not CSV: {error}")
            if fields:
                broken = next((fault for _, _, fault in taken if fault), None)
                return taken[0][0], broken or fields

    def _taking(self, taken: list[_Line]) -> Iterator[str]:
        size = 0
        while size <= MAX_ROW:
            line = self._again.popleft() if self._again else self._read()
            if line is None:
                return
            taken.append(line)
            size += len(line[1])
            yield line[1]

    def _read(self) -> _Line | None:
        number, line = next(self._lines, (0, None))
        if line is None:
            return None
        if isinstance(line, Broken):
            return number, "too long\n", line
        try:
            text, fault = line.decode("utf-8"), None
        except UnicodeDecodeError as error:
            text = line.decode("utf-8", "replace")
            fault = Broken(f"line {number} is not UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}")
        return number, text, fault

    def _see_delimiter(self) -> None:
        if self._delimiter is None and (line := self._read()):
            if told := _SEPARATOR.fullmatch(line[1].rstrip("\r\n")):
                self._delimiter = told[1]
                return
            self._again.append(line)
            if line[1].strip():
                counts = {candidate: line[1].count(candidate) for candidate in ",;\t|"}
                found = max(counts, key=lambda candidate: counts[candidate])
                self._delimiter = self._preferred if counts.get(self._preferred or "") else found

    def _give_back(self, taken: list[_Line]) -> None:
        size = sum(len(text) + _COST_OF_A_LINE for _, text, _ in taken)
        if size <= self._may_read_twice:
            self._may_read_twice -= size
            self._again.extendleft(reversed(taken))
