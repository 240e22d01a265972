"""The pictures on the page of the data: each row becomes that text, and what is marked is what is learned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from job.dataset import prepare
from job.spec.sections import Dataset
from job.tokens.encoder import NO_LOSS
from tests import ROOT
from tests.job.tokens.making import encoded, tokenizer_folder

PAGE = (ROOT / "docs" / "data.md").read_text()
PICTURES = [
    (PAGE[: found.start()].strip().split("\n\n")[-1], *found.groups())
    for found in re.finditer(r"```\n(\{.*\})\n(.+)\n( *\^+)\n```", PAGE)
]
"""The words before each, its row, what that becomes, and the marks below."""


def test_every_layout_has_a_picture() -> None:
    rows = [json.loads(row) for _, row, _, _ in PICTURES]
    first = {next(iter(row)) for row in rows}
    assert {"text", "prompt", "question", "instruction", "system", "conversations"} <= first


@pytest.mark.parametrize(("words", "row", "text", "marks"), PICTURES, ids=[row[:25] for _, row, _, _ in PICTURES])
def test_a_picture_shows_what_the_row_becomes_and_what_is_learned(
    words: str, row: str, text: str, marks: str, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text(row)
    options: Any = {"has_template": "without a chat template" not in words}
    data = Dataset(id="rows.jsonl", eval_fraction=0)
    made = prepare([(data, tmp_path / "rows.jsonl")], seed=1, system=None, out=tmp_path / "out", **options)
    found, tokenizer = encoded(tokenizer_folder(tmp_path / "model"), made.kind, json.loads(made.train.read_text()))
    whole = tokenizer.decode(found.ids)
    learned = tokenizer.decode([label for label in found.labels[1:] if label != NO_LOSS])
    assert squeezed(whole) == squeezed(text.replace("⏎", "\n"))
    assert squeezed(learned) == squeezed(text[marks.index("^") : len(marks)])


def squeezed(text: str) -> str:
    """Without white space, of which SentencePiece adds some."""
    return "".join(text.split())
