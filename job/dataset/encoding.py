"""How a text file is encoded: UTF-8, UTF-16 or UTF-32, or Windows-1252, in which Excel saves CSV in Western Europe.

UTF-16 and UTF-32 show themselves by their first bytes. Windows-1252 shows itself by nothing, and any bytes can be read
as it; so a file is read as Windows-1252 only if no part of it is UTF-8 and everything in it is what Western European
texts contain. What other code pages make of their letters (a Polish ł is a ³ inside a word) is not.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from job.errors import DataInvalid

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNMARKED = (
    (re.compile(rb"[\t\n\r -~]\0[\t\n\r -~]\0"), "utf-16-le"),
    (re.compile(rb"\0[\t\n\r -~]\0[\t\n\r -~]"), "utf-16-be"),
)
"""Two characters of ASCII, as these encodings write them."""

_BLOCK = 1 << 16
_ASCII_MOST = 256 << 20
"""Bytes of ASCII after which a file is taken for UTF-8: its end would otherwise be read only for this."""
_CARRIED = 64
"""Bytes at a block's end that are looked at again with the next block."""
_UTF_8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LETTER = rb"\x8c\x9c\xc0-\xcf\xd1-\xd6\xd8-\xdc\xdf-\xef\xf1-\xf6\xf8-\xfc"
"""Windows-1252 without the letters of Czech, Turkish and Icelandic, which stand for much else in other code pages."""
_SIGN = rb"\x80\x82\x84-\x87\x89\x8b\x91-\x97\x99\x9b\xa0-\xbf\xd7\xf7"
_BESIDE_LETTERS = rb"\x85\x91\x92\x96\x97\xa0\xad\xb4\xb7"
"""Apostrophes, dashes, an ellipsis, dots: signs that stand between two letters."""
_STRANGE = re.compile(
    rb"[^\x00-\x7f" + _LETTER + _SIGN + rb"]"
    rb"|[A-Za-z" + _LETTER + rb"][^\x00-\x7f" + _LETTER + _BESIDE_LETTERS + rb"][A-Za-z" + _LETTER + rb"]"
    rb"|[a-z]\x96[a-z]"  # the ñ of a Mac
    rb"|[" + _LETTER + rb"]{6}"
)
_HUNGARIAN = (re.compile(rb"[\xd5\xdb\xf5\xfb]"), re.compile(rb"[\xd6\xdc\xf6\xfc]"))
"""How Windows-1250 writes ő and ű, and the letters beside them: no language of Windows-1252 has both."""


def wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32, by a file's first bytes; None for all else."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if marked:
        return marked if marked != "utf-8" else None
    return next((name for pattern, name in _UNMARKED if pattern.match(head)), None)


def western_word(read: Callable[[int], bytes]) -> str | None:
    """The first word that is not ASCII of a file in Windows-1252; None if the file is UTF-8 or something else.

    Ends at the first character of UTF-8: a large file is read to its end only if it is Windows-1252.
    """
    first, hungarian, size = None, [False, False], 0
    for block in _blocks(read):
        size += len(block)
        if block.isascii():
            if first is None and size > _ASCII_MOST:
                return None
            continue
        if _UTF_8.search(block) or _STRANGE.search(block):
            return None
        hungarian = [seen or bool(letters.search(block)) for seen, letters in zip(hungarian, _HUNGARIAN, strict=True)]
        first = first or next(word for word in re.split(rb"[ \t\r\n,;|]+", block) if not word.isascii())
    return first.decode("cp1252") if first and not all(hungarian) else None


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    carried = b""
    while block := read(_BLOCK):
        yield carried + block
        carried = block[-_CARRIED:]


class Recoded(io.RawIOBase):
    """A file's text in UTF-8. Halves of surrogate pairs stay what they are, so that they cost one row."""

    def __init__(self, file: io.BufferedReader, encoding: str, name: str) -> None:
        self._file, self._encoding, self._name = file, encoding, name
        self._decoder = codecs.getincrementaldecoder(encoding)("strict" if encoding == "cp1252" else "surrogatepass")
        self._left, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._ended:
            block = self._file.read(_BLOCK)
            self._ended = not block
            try:
                self._left = self._decoder.decode(block, final=self._ended).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise DataInvalid(
                    f"{self._name} is cut off or damaged: it is not {self._encoding.upper()}: {error.reason}",
                    hint="Save the file again, as UTF-8.",
                ) from error
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
