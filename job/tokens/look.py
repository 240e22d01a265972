"""A row as people look at it: each token's text, and whether it is trained."""

from typing import Any

from job.artifacts import Frozen
from job.tokens.encoder import NO_LOSS, Encoded

_BEFORE = 8
"""Tokens that are decoded before one, to see what it adds: spaces and bytes of a character depend on them."""


class Piece(Frozen):
    """What a token adds to the text. Of the tokens of one character only the last one adds it."""

    text: str
    trained: bool


class LookedAt(Frozen):
    """`length`: tokens of the whole row, of which `pieces` are those within max_length. `left_out`: fields that the
    chat template does not show."""

    source: str
    pieces: list[Piece]
    length: int
    left_out: list[str]

    @property
    def trained(self) -> int:
        return sum(piece.trained for piece in self.pieces)


def look_at(source: str, row: Encoded, tokenizer: Any) -> LookedAt:
    texts = _texts(row.ids, tokenizer)
    # The first token has nothing before it to be predicted from.
    trained = (place > 0 and label != NO_LOSS for place, label in enumerate(row.labels))
    pieces = [Piece(text=text, trained=learned) for text, learned in zip(texts, trained, strict=True)]
    return LookedAt(source=source, pieces=pieces, length=row.length, left_out=sorted(row.left_out))


def _texts(ids: list[int], tokenizer: Any) -> list[str]:
    def decoded(first: int, last: int) -> str:
        text: str = tokenizer.decode(ids[first:last], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    found, shown = [], 0
    for place in range(len(ids)):
        first = max(0, min(shown, place) - _BEFORE)
        before, text = decoded(first, shown), decoded(first, place + 1)
        if text.endswith("\ufffd") and place + 1 < len(ids):
            found.append("")  # a character that is not whole yet
            continue
        found.append(text[len(before) :] if text.startswith(before) else decoded(shown, place + 1))
        shown = place + 1
    return found
