"""A row as people look at it: the text of each token, and whether it is trained."""

from pathlib import Path
from typing import Any

import pytest

from job.tokens.look import look_at
from tests.job.tokens.making import TALK, encoded, learned, tokenizer_folder

TEXTS = [
    "Plain words.",
    "  two spaces,\ttab\n\nlines ",
    "naïve café ½ 你好 🙂🙂",
    "🙂",
    "a",
    "<|user|> is a token",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokens_texts_make_the_rows_text(tmp_path: Path, text: str) -> None:
    found, tokenizer = encoded(tokenizer_folder(tmp_path), "text", {"text": text})
    row = look_at("a.jsonl:1", found, tokenizer)
    assert len(row.pieces) == len(found.ids) == row.length
    assert "".join(piece.text for piece in row.pieces) == tokenizer.decode(found.ids)
    assert [piece.trained for piece in row.pieces] == [False] + [True] * (len(found.ids) - 1)


@pytest.mark.parametrize("turns", [TALK, [*TALK, {"role": "user", "content": "🙂?"}, TALK[1]]])
def test_what_is_marked_as_trained_is_what_has_a_loss(tmp_path: Path, turns: list[dict[str, Any]]) -> None:
    found, tokenizer = encoded(tokenizer_folder(tmp_path), "messages", {"messages": turns})
    row = look_at("a.jsonl:1", found, tokenizer)
    assert "".join(piece.text for piece in row.pieces if piece.trained).split() == learned(found, tokenizer).split()
    assert 0 < row.trained < len(row.pieces)
