"""Normalized rows of one data set on disk, and what decides about each of them.

A row costs 16 bytes of memory (its draw and its hash), whatever its length, and about 20 more while equal rows are
found; ten million rows need 360 MB.
"""

import hashlib
import random
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

BYTES_PER_TOKEN = 6
"""Of a row as a line of JSON, with its keys and quotes: more than most text has, so that rows are not taken for longer
than they are."""

SOURCE = b', "source": '
"""What follows in a line is where the row comes from, and nothing of it."""
_TRAINED, _HELD_OUT, _DROPPED = range(3)


def chance(*of: int | str) -> float:
    """A number in [0, 1) that depends only on its arguments, and is the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, of)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


class Spool:
    """Rows are added in order, inside `with`; `settle` then decides which are held out. `longest`: tokens of a row that
    count at most; `tokens`: about how many all have."""

    def __init__(self, path: Path, *, seed: int, index: int, longest: int | None = None) -> None:
        self.path, self.tokens = path, 0
        self._seed, self._index, self._longest = seed, index, longest or sys.maxsize
        self._file = path.open("wb")
        self._draws, self._hashes = array("d"), array("Q")
        self._parts = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, row_number: int, line: bytes) -> None:
        """`row_number` counts the rows of the data, broken ones too, so rows appended to the data later change nothing
        here."""
        row = line.rpartition(SOURCE)[0] or line
        self._draws.append(chance("eval", self._seed, self._index, row_number))
        self._hashes.append(int.from_bytes(hashlib.blake2b(row, digest_size=8).digest(), "big"))
        self._file.write(line)
        self.tokens += min(len(row) // BYTES_PER_TOKEN, self._longest)

    def repeats(self) -> Sequence[int]:
        """The rows that are equal to an earlier one, by their numbers here."""
        import numpy

        hashes = numpy.asarray(self._hashes)
        order = numpy.argsort(hashes, kind="stable")
        hashes = hashes[order]
        return array("q", order[1:][hashes[1:] == hashes[:-1]].tobytes())

    def settle(self, eval_fraction: float, dropped: Sequence[int] = ()) -> int:
        """Holds out the rows of low draws, but those that are dropped; returns how many. With two rows or more: at
        least one, if any should be, and at least one is left to train on."""
        import numpy

        draws, left_out = numpy.asarray(self._draws), numpy.asarray(dropped, dtype=numpy.int64)
        parts = numpy.where(draws < eval_fraction, numpy.uint8(_HELD_OUT), numpy.uint8(_TRAINED))
        parts[left_out] = _DROPPED
        if eval_fraction > 0 and len(draws) - len(left_out) > 1:
            draws[left_out] = 2  # no row is drawn lower or higher than 0 and 1
            parts[draws.argmin()] = _HELD_OUT
            draws[left_out] = -1
            parts[draws.argmax()] = _TRAINED
        self._draws, self._parts = array("d"), bytearray(parts.tobytes())
        return self._parts.count(_HELD_OUT)

    def hashes(self, *, held_out: bool) -> Any:
        """The hashes of the rows of one part, as a numpy array of its own."""
        import numpy

        parts = numpy.frombuffer(self._parts, dtype=numpy.uint8)
        return numpy.asarray(self._hashes)[parts == (_HELD_OUT if held_out else _TRAINED)]

    def lines(self, *, held_out: bool) -> Iterator[bytes]:
        """The lines of one part, in the data's order."""
        wanted = _HELD_OUT if held_out else _TRAINED
        with self.path.open("rb") as file:
            for part, line in zip(self._parts, file, strict=True):
                if part == wanted:
                    yield line

    def drawn(self, weight: float) -> Iterator[int]:
        """Offsets of the rows to train on: every row as often as the whole part of `weight`, and a seeded share for the
        rest.

        The share is exact to one row, and at least one row is drawn.
        """
        offsets = array("Q", self._offsets())
        whole = int(weight)
        for _ in range(whole):
            yield from offsets
        needed, left = round((weight - whole) * len(offsets)), len(offsets)
        needed = max(needed, 1) if whole == 0 and left else needed
        dice = random.Random(f"weight/{self._seed}/{self._index}")
        for offset in offsets:
            if dice.random() * left < needed:
                yield offset
                needed -= 1
            left -= 1

    def _offsets(self) -> Iterator[int]:
        """Where the rows to train on begin in the file."""
        at = 0
        with self.path.open("rb") as file:
            for part, line in zip(self._parts, file, strict=True):
                if part == _TRAINED:
                    yield at
                at += len(line)
