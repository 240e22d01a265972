"""Rows of one JSON document, streamed: a list of objects, an object that holds one such list, or objects one after
another that take several lines each.

The document is decoded value by value, so its size does not matter. A syntax error ends the reading,
since the start of the next row is unknown. A row that is only unusable (nested too deeply, too long, bytes that are
not UTF-8) costs one row.
"""

import codecs
import io
import json
import re
from collections.abc import Generator
from typing import Any

from job.dataset.opening import BOM
from job.dataset.rows import MAX_READ, MAX_ROW, Broken, Row, kind_name, listed
from job.errors import DataInvalid

_CHUNK = 1 << 20
_NEAR_THE_END = 16
"""Characters. A decoding error this close to the window's end may come from a value that is cut off there."""
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r"[^,\]}\s]*")
_MARKS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"?', re.DOTALL)


def list_rows(file: io.BufferedReader, name: str) -> Generator[Row, None, None]:
    """The elements of a document that is a list."""
    document = _Document(file, name)
    document.expect("[")
    yield from _elements(document)
    if document.peek():
        raise document.fault("there is text after the end of the list")


def wrapped_rows(file: io.BufferedReader, name: str) -> Generator[Row, None, None]:
    """The elements of the one list of objects in a document that is an object. Raises DataInvalid for several, after
    the rows of the first."""
    document = _Document(file, name)
    document.expect("{")
    found: list[str] = []
    while document.peek() != "}":
        key = document.value()
        document.expect(":")
        if document.peek() == "[":
            document.expect("[")
            if document.peek() == "{":
                found.append(str(key))
                if len(found) > 1:
                    raise DataInvalid(
                        f"{name} holds several lists of rows: {listed(found)}",
                        hint="Write each into a file of its own.",
                    )
                yield from _elements(document)
            else:
                for _ in _elements(document):
                    continue
        else:
            document.value()
        if document.peek() != "}":
            document.expect(",")
    if not found:
        raise DataInvalid(
            f"{name} is one JSON object without a list of rows", hint="Write a list of objects, or one object a line."
        )


def object_rows(file: io.BufferedReader, name: str) -> Generator[Row, None, None]:
    """Objects one after another; commas between them are skipped."""
    document = _Document(file, name)
    while document.peek():
        yield _row(document)
        if document.peek() == ",":
            document.expect(",")


def _elements(document: "_Document") -> Generator[Row, None, None]:
    """The rest of a list whose bracket has been read."""
    if document.peek() == "]":
        document.expect("]")
        return
    mark = ","
    while mark == ",":
        yield _row(document)
        mark = document.peek()
        document.expect("," if mark == "," else "]")


def _row(document: "_Document") -> Row:
    document.peek()
    line, value = document.line, document.value()
    if isinstance(value, Broken | dict):
        return line, value
    return line, Broken(f"the row is {kind_name(value)}, not an object")


class _Document:
    """A window of the text. Bytes that are not UTF-8 become lone surrogates, which make a row unusable."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self._file, self._name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at, self._ended = "", 0, False
        self.line = 1
        if file.peek(3).startswith(BOM):
            file.read(3)

    def fault(self, what: str, line: int | None = None) -> DataInvalid:
        return DataInvalid(
            f"{self._name}, line {line or self.line}: not JSON: {what}",
            hint="Fix the file, or use JSON Lines, in which a broken row costs only one row.",
        )

    def peek(self) -> str:
        """The next character that is not white space; '' at the end."""
        while True:
            end = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._advance(end)
            if end < len(self._text) or not self._more(_CHUNK):
                return self._text[end : end + 1]

    def expect(self, mark: str) -> None:
        found = self.peek()
        if found != mark:
            raise self.fault(f"expected {mark!r}, found {found!r}" if found else f"expected {mark!r}, the file ends")
        self._advance(self._at + 1)

    def value(self) -> Any:
        """The next value, or Broken if it is complete but cannot be used. Raises DataInvalid at a syntax error."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated string") or error.pos > len(self._text) - _NEAR_THE_END
                if cut_off and self._more(max(_CHUNK, len(self._text) - self._at)):
                    continue
                line = self.line + self._text.count("\n", self._at, error.pos)
                raise self.fault(error.msg, line) from error
            except RecursionError:
                return self._skipped(Broken("JSON nested too deeply"))
            except ValueError:
                return self._skipped(Broken("a number with too many digits"))
            if end == len(self._text) and self._more(_CHUNK):
                continue
            too_long = end - self._at > MAX_ROW
            self._advance(end)
            return Broken(f"the row is longer than {MAX_ROW >> 20} MiB") if too_long else value

    def _skipped(self, broken: Broken) -> Broken:
        """Skips the value that begins here, by its brackets alone."""
        while (end := self._end_by_brackets()) is None:
            if not self._more(max(_CHUNK, len(self._text) - self._at)):
                raise self.fault("a value has no end")
        self._advance(end)
        return broken

    def _end_by_brackets(self) -> int | None:
        if self._text[self._at : self._at + 1] not in ("[", "{"):
            end = _SCALAR.match(self._text, self._at).end()  # type: ignore[union-attr]
            return end if end < len(self._text) or self._ended else None
        depth = 0
        for mark in _MARKS.finditer(self._text, self._at):
            if mark[0] in "[{":
                depth += 1
            elif mark[0] in "]}":
                depth -= 1
                if depth == 0:
                    return mark.end()
        return None

    def _advance(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self, count: int) -> bool:
        """Reads more text. Returns False at the end of the file. Raises DataInvalid if a value is longer than
        MAX_READ."""
        if self._ended:
            return False
        if len(self._text) - self._at > MAX_READ:
            raise self.fault(f"a value of more than {MAX_READ >> 20} MiB, or one that is not closed")
        block = self._file.read(count)
        self._ended = not block
        self._text = self._text[self._at :] + self._decoder.decode(block, final=self._ended)
        self._at = 0
        return True
