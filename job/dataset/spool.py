"""Normalized rows of one data set on disk, with an index to draw them in any order.

A row costs 16 bytes of memory (its offset and its draw), whatever its length; ten million rows need 160 MB.
"""

import hashlib
import random
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Self

BYTES_PER_TOKEN = 6
"""Of a row as a line of JSON, with its keys and quotes: more than most text has, so that rows are not taken for longer
than they are."""


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
        self._offsets, self._draws, self._held_out = array("Q"), array("d"), bytearray()
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._offsets)

    def add(self, row_number: int, line: bytes) -> None:
        """`row_number` counts the rows of the data, broken ones too, so rows appended to the data later change nothing
        here."""
        self._offsets.append(self._end)
        self._draws.append(chance("eval", self._seed, self._index, row_number))
        self._file.write(line)
        self._end += len(line)
        self.tokens += min(len(line) // BYTES_PER_TOKEN, self._longest)

    def settle(self, eval_fraction: float) -> int:
        """Holds out the rows of low draws; returns how many. With two rows or more: at least one, if any should be, and
        at least one is left to train on."""
        self._held_out = bytearray(draw < eval_fraction for draw in self._draws)
        if eval_fraction > 0 and len(self._draws) > 1:
            self._held_out[self._draws.index(min(self._draws))] = 1
            self._held_out[self._draws.index(max(self._draws))] = 0
        self._draws = array("d")
        return sum(self._held_out)

    def lines(self, *, held_out: bool) -> Iterator[bytes]:
        """The lines of one part, in the data's order."""
        with self.path.open("rb") as file:
            for flag, line in zip(self._held_out, file, strict=True):
                if flag == held_out:
                    yield line

    def drawn(self, weight: float) -> Iterator[int]:
        """Offsets of the rows to train on: every row as often as the whole part of `weight`, and a seeded share for the
        rest.

        The share is exact to one row, and at least one row is drawn.
        """
        offsets = array("Q", (at for at, flag in zip(self._offsets, self._held_out, strict=True) if not flag))
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
