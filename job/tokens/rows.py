"""Encodes the rows of files one by one, and counts what is left out of them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.logs import Progress, log
from job.tokens.encoder import Encoded, Encoder, Unfit
from job.tokens.lengths import LengthTally

SAMPLED_ROWS = 50
CALIBRATION_BYTES = 250_000  # enough for MOST_CHUNKS of 512 tokens at 8 bytes a token
_EVERY = 200


class Rows:
    """Encodes the rows of files, and counts what is left out of them."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.left_out: Counter[str] = Counter()
        self.parts = {"train": LengthTally(), "eval": LengthTally()}
        self.first_texts: list[str] = []
        """Held-out rows as text."""

    @property
    def unlearned(self) -> int:
        return sum(part.unlearned for part in self.parts.values())

    def read(self, path: Path) -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def encoded(self, path: Path, what: str) -> Iterator[tuple[str, Encoded]]:
        """Each row with its source; those with nothing to learn are counted alone."""
        bar = Progress(f"tokenizing the rows {what}", None, "rows")
        for number, row in enumerate(self.read(path), 1):
            source, found = self._encoded(row, number)
            if what == "held out" and len(self.first_texts) < SAMPLED_ROWS:
                self.first_texts.append(found.text)
            if self.parts["eval"].takes(source, found, row.get("too_long", "cut")):
                yield source, found
            if number % _EVERY == 0:
                bar.update(number)

    def sampled(self, path: Path, out: Any, *, every_row: bool) -> Iterator[tuple[str, Encoded]]:
        """Writes rows as text, taken evenly from the whole file, and gives all rows, or only these."""
        every, left = max(1, path.stat().st_size // CALIBRATION_BYTES), CALIBRATION_BYTES
        bar = Progress("tokenizing the rows to train on", None, "rows")
        for number, row in enumerate(self.read(path), 1):
            is_taken = left > 0 and (number - 1) % every == 0
            if not (is_taken or every_row):
                continue
            source, found = self._encoded(row, number)
            is_used = self.parts["train"].takes(source, found, row.get("too_long", "cut"))
            if is_taken and is_used:
                out.write(found.text + "\n")
                left -= len(found.text.encode()) + 1
            if is_used:
                yield source, found
            if number % _EVERY == 0:
                bar.update(number)

    def tell(self) -> None:
        if self.left_out:
            log.warning("tokens.left_out", rows=dict(self.left_out))
        if self.unlearned:
            log.warning("tokens.nothing_to_learn", rows=self.unlearned, why="no token has a loss within max_length")

    def _encoded(self, row: dict[str, Any], number: int) -> tuple[str, Encoded]:
        source, found = self.encode(row, number)
        self.left_out.update(found.left_out)
        return source, found

    def encode(self, row: dict[str, Any], number: int) -> tuple[str, Encoded]:
        """A row's source and its tokens, uncounted. Raises SpecInvalid."""
        source = str(row.get("source") or f"row {number}")
        try:
            return source, self.encoder.encode(row)
        except Unfit as error:
            raise SpecInvalid(f"{source}: {error.why}", hint=error.hint) from error
