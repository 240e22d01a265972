"""Normalized rows of one data set on disk, with an index to draw them in any order.

A row costs 9 bytes of memory (its offset and whether it is held out), whatever its length; ten million
rows need 90 MB.
"""

import hashlib
import random
from array import array
from collections.abc import Iterator
from pathlib import Path


def chance(*of: int | str) -> float:
    """A number in [0, 1) that depends only on its arguments, and is the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, of)).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / (1 << 56)


class Spool:
    """Rows are added in order; `settle` decides which are held out."""

    def __init__(self, path: Path, *, seed: int, index: int, eval_fraction: float) -> None:
        self.path = path
        self._seed, self._index, self._fraction = seed, index, eval_fraction
        self._file = path.open("wb")
        self._offsets, self._held_out = array("Q"), array("B")
        self._lowest, self._highest = (2.0, 0), (-1.0, 0)
        self._end = 0

    def add(self, row_number: int, line: bytes) -> None:
        """`row_number` counts the rows of the data, broken ones too, so rows appended to the data later change nothing
        here."""
        drawn = chance("eval", self._seed, self._index, row_number)
        at = len(self._offsets)
        self._lowest, self._highest = min(self._lowest, (drawn, at)), max(self._highest, (drawn, at))
        self._offsets.append(self._end)
        self._held_out.append(drawn < self._fraction)
        self._file.write(line)
        self._end += len(line)

    def settle(self) -> None:
        """With two rows or more: at least one is held out, if any should be, and at least one is left to train on."""
        self._file.close()
        if self._fraction > 0 and len(self._offsets) > 1:
            self._held_out[self._lowest[1]] = 1
            self._held_out[self._highest[1]] = 0

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
