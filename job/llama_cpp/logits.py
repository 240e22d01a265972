"""The logits that a perplexity leaves behind: rows of them, and whether another model puts the same tokens first.

Format: tools/perplexity/perplexity.cpp, `log_softmax`: per scored token the vocabulary's scaled logarithms in 16 bits.
"""

import base64
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from job.llama_cpp.windows import scored

HEAD, ROW_HEAD = 20, 4
"""Bytes before the tokens in the file; 16-bit words before a row's."""
MOST_TOPS = 1000
"""Scored tokens of which the likeliest is compared."""


def rows_at(logits: Path, places: Iterable[tuple[int, int]], context: int, chunks: int) -> "Iterator[array[int]]":
    """The vocabulary's values at each (window, row of it): the larger, the likelier."""
    return (values for _, values in _words_at(logits, places, context, chunks))


def _words_at(
    logits: Path, places: Iterable[tuple[int, int]], context: int, chunks: int
) -> "Iterator[tuple[array[int], array[int]]]":
    """A row's head, and its values."""
    with logits.open("rb") as file:
        vocabulary = int.from_bytes(file.read(HEAD)[12:16], "little")
        words = 2 * ((vocabulary + 1) // 2) + ROW_HEAD
        start = HEAD + 4 * context * chunks
        for window, row in places:
            file.seek(start + 2 * words * (window * scored(context) + row))
            found = array("H", file.read(2 * words))
            yield found[:ROW_HEAD], found[ROW_HEAD : ROW_HEAD + vocabulary]


def logarithms_at(logits: Path, places: Iterable[tuple[int, int]], context: int, chunks: int) -> Iterator[Any]:
    """The logarithms of the vocabulary's probabilities at each (window, row of it), as a tensor. The least stands for
    all below."""
    import torch

    for head, values in _words_at(logits, places, context, chunks):
        scale, least = struct.unpack("<ff", head.tobytes())
        yield torch.frombuffer(values, dtype=torch.uint16).float() * scale + least


def same_top(logits: Path, tops: str, context: int, chunks: int) -> float:
    """The share of the first scored tokens for which the model that left these logits puts the same token first as the
    one whose `tops` are given (`packed`)."""
    expected = unpacked(tops)
    places = ((window, row) for window in range(chunks) for row in range(scored(context)))
    rows = rows_at(logits, islice(places, len(expected)), context, chunks)
    same = [found[top] == max(found) for found, top in zip(rows, expected, strict=True)]
    return sum(same) / len(same)


def packed(ids: list[int]) -> str:
    """Token ids as a short text for a record."""
    return base64.b64encode(zlib.compress(array("I", ids).tobytes(), 9)).decode()


def unpacked(text: str) -> list[int]:
    """The token ids in such a text."""
    return array("I", zlib.decompress(base64.b64decode(text))).tolist()
