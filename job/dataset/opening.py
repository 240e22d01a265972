"""Opens a data file, gzipped or not, in whatever encoding, and reads lines of bounded length.

The first bytes of a file show what it is, not its name: people name gzipped files .jsonl. A gzip
bomb (https://en.wikipedia.org/wiki/Zip_bomb) is refused by its ratio: deflate reaches about
1030:1, text rarely more than 50:1.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from job.dataset.encoding import Recoded, western_word, wide
from job.dataset.rows import MAX_READ, MAX_ROW, Broken, shown
from job.errors import DataInvalid
from job.logs import log
from job.spec.unread import how_to_convert

MAX_RATIO = 300
"""The limit of decompressed to compressed bytes, checked after the first MAX_ROW bytes."""

BOM = b"\xef\xbb\xbf"

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
TABLES = (PARQUET, ARROW_FILE, ARROW_STREAM)
"""How files begin that are not text."""

_REFUSED = {
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "zst"),
    b"BZh": ("is compressed with bzip2", "bz2"),
    b"\xfd7zXZ": ("is compressed with xz", "xz"),
    b"7z\xbc\xaf": ("is a 7z archive", "7z"),
    b"Rar!\x1a\x07": ("is a rar archive", "rar"),
    b"\xd0\xcf\x11\xe0": ("is an old Excel or Word file", "xls"),
    b"%PDF-": ("is a PDF", "pdf"),
    b"SQLite format 3": ("is an SQLite database", "sqlite"),
    b"Obj\x01": ("is an Avro file", "avro"),
    b"\x89HDF": ("is an HDF5 file", "h5"),
    b"\x93NUMPY": ("is an array of NumPy", "npy"),
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), ("is a Python pickle", "pickle")),
}
"""How files begin that are not read: what such a file is, and what it is usually called."""


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
    """Opens a file for its decompressed bytes, text as UTF-8. Raises DataInvalid if it is not a data file that can be
    read."""
    with _decompressed(path) as content:
        head = content.peek(512)[:512]
        _refuse_others(path.name, head)
        if encoding := _encoding(path, head):
            content = io.BufferedReader(Recoded(content, encoding, path.name), 1 << 20)
        yield content


@contextmanager
def _decompressed(path: Path) -> Iterator[io.BufferedReader]:
    with path.open("rb") as file:
        is_gzip = file.peek(2)[:2] == b"\x1f\x8b"
        yield io.BufferedReader(_Inflated(file, path), 1 << 20) if is_gzip else file


def _refuse_others(name: str, head: bytes) -> None:
    for magic, (what, ending) in _REFUSED.items():
        if head.startswith(magic):
            raise DataInvalid(f"{name} {what}", hint=f"To use it, {how_to_convert(ending, name)}.")
    if head.startswith(b"PK\x03\x04"):
        hint = f"In Excel, {how_to_convert('xlsx', name)}; an archive, {how_to_convert('zip', name)}."
        raise DataInvalid(f"{name} is a zip archive (or an Excel file)", hint=hint)
    if head.startswith(b"version https://git-lfs"):
        raise DataInvalid(f"{name} is a Git LFS pointer, not the data", hint="Fetch the data: git lfs pull.")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise DataInvalid(
            f"{name} is a web page, not data", hint="Use the address of the file itself (on the Hub: /resolve/)."
        )


def _encoding(path: Path, head: bytes) -> str | None:
    """The encoding of a text that is not UTF-8."""
    if head.startswith(TABLES):
        return None
    if found := wide(head):
        return found
    status = path.stat()
    return "cp1252" if b"\0" not in head and _is_western(path, status.st_mtime_ns, status.st_size) else None


@lru_cache(maxsize=1000)
def _is_western(path: Path, changed: int, size: int) -> bool:
    """Whether a file is Windows-1252, which is told once."""
    with _decompressed(path) as content:
        word = western_word(content.read)
    if word:
        log.warning(
            "data.encoding",
            file=path.name,
            what=f"{path.name} is not UTF-8 and is read as Windows-1252, as Excel saves CSV: its first word with a "
            f"special letter is {shown(word)}. If that is wrong, save the file as UTF-8.",
        )
    return word is not None


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
