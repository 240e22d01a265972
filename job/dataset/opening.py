"""Opens a data file, gzipped or not, and reads lines of bounded length.

The first bytes of a file show what it is, not its name: people name gzipped files .jsonl. A gzip
bomb (https://en.wikipedia.org/wiki/Zip_bomb) is refused by its ratio: deflate reaches about
1030:1, text rarely more than 50:1.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.dataset.rows import MAX_READ, MAX_ROW, Broken
from job.errors import DataInvalid

MAX_RATIO = 300
"""The limit of decompressed to compressed bytes, checked after the first MAX_ROW bytes."""

BOM = b"\xef\xbb\xbf"

_REFUSED: dict[bytes, tuple[str, str]] = {
    b"\xff\xfe": ("is UTF-16, not UTF-8", "Convert it: iconv -f UTF-16 -t UTF-8."),
    b"\xfe\xff": ("is UTF-16, not UTF-8", "Convert it: iconv -f UTF-16 -t UTF-8."),
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "Decompress it, or use gzip."),
    b"PK\x03\x04": ("is a zip archive (or an Excel file)", "Unpack it, or save it as CSV."),
    b"BZh": ("is compressed with bzip2", "Decompress it, or use gzip."),
    b"\xfd7zXZ": ("is compressed with xz", "Decompress it, or use gzip."),
    b"SQLite format 3": ("is an SQLite database", "Export the table as CSV or JSON Lines."),
    b"ARROW1": ("is an Arrow file", "Save it as Parquet: Dataset.to_parquet()."),
    b"version https://git-lfs": ("is a Git LFS pointer, not the data", "Fetch the data: git lfs pull."),
}


class _Inflated(io.RawIOBase):
    """A gzipped file's content. Raises DataInvalid if it is cut off, damaged or a gzip bomb."""

    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        self._file, self._path, self._given = file, path, 0
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._gzip.readinto(buffer)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataInvalid(
                f"{self._path.name} is cut off or damaged: {error}",
                hint="Check it with `gzip -t`, and upload it again.",
            ) from error
        self._given += count
        if self._given > MAX_ROW and self._given > MAX_RATIO * self._file.tell():
            raise DataInvalid(
                f"{self._path.name} looks like a gzip bomb: decompressed it is more than {MAX_RATIO} times larger",
                hint="If the data is correct, provide it decompressed.",
            )
        return count


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """Opens a file for its decompressed bytes. Raises DataInvalid if it is not a data file that can be read."""
    with path.open("rb") as file:
        content = file
        if file.peek(2)[:2] == b"\x1f\x8b":
            content = io.BufferedReader(_Inflated(file, path), 1 << 20)
        head = content.peek(512)[:512]
        for magic, (what, hint) in _REFUSED.items():
            if head.startswith(magic):
                raise DataInvalid(f"{path.name} {what}", hint=hint)
        if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise DataInvalid(
                f"{path.name} is a web page, not data",
                hint="Use the address of the file itself (on the Hub: /resolve/).",
            )
        yield content


def lines(file: io.BufferedReader, name: str) -> Iterator[tuple[int, bytes | Broken]]:
    """Each line with its number, without the byte order mark; a line longer than MAX_ROW is broken.

    Raises DataInvalid if a line does not end within MAX_READ.
    """
    number = 0
    while line := file.readline(MAX_ROW + 1):
        number += 1
        if number == 1 and line.startswith(BOM):
            line = line[len(BOM) :]
        if len(line) <= MAX_ROW or line.endswith(b"\n"):
            yield number, line
        else:
            _skip_line(file, len(line), f"{name}, line {number}")
            yield number, Broken(f"the line is longer than {MAX_ROW >> 20} MiB")


def _skip_line(file: io.BufferedReader, size: int, where: str) -> None:
    while (part := file.readline(1 << 20)) and not part.endswith(b"\n"):
        size += len(part)
        if size > MAX_READ:
            raise DataInvalid(
                f"{where}: a line of more than {MAX_READ >> 20} MiB", hint="End each row with a line break."
            )


def decoded(line: bytes) -> str:
    """The text of a line, decoded as strict UTF-8. Raises Broken."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken(f"not UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}") from error
