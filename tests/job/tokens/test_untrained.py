"""Tokens of a template that the base model has never trained are told, with what to do."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.job.tokens.making import TALK, made
from tests.tiny_models import make_llama

USER, ASSISTANT = 4, 5  # <|system|> is 3


def base(folder: Path, change: Any, shards: int = 1) -> Path:
    def prepare(model: Any) -> None:
        change(model.get_input_embeddings().weight.data)

    return make_llama(folder, prepare=prepare, shards=shards)


def zero(rows: Any) -> None:
    rows[[USER, ASSISTANT]] = 0


def alike(rows: Any) -> None:
    rows[[USER, ASSISTANT]] = rows[3].clone()


def warned(folder: Path, model: Path, kind: str = "messages", **sections: Any) -> list[dict[str, Any]]:
    row = {"messages": TALK} if kind == "messages" else {"text": "Some text."}
    (folder / "tokens").mkdir()
    with capture_logs() as said:
        made(folder / "tokens", [row], kind, model, **sections)
    return [dict(one) for one in said if one["event"] == "tokens.untrained"]


@pytest.mark.parametrize(("change", "shards"), [(zero, 1), (alike, 1), (zero, 3)])
def test_rows_that_are_zero_or_alike_are_told(tmp_path: Path, change: Any, shards: int) -> None:
    """After unsloth#658 and torchtune#2429."""
    (event,) = warned(tmp_path, base(tmp_path / "base", change, shards))
    assert event["log_level"] == "warning"
    assert set(event["tokens"]) >= {"<|user|>", "<|assistant|>"}
    assert "chat.add_tokens: ['<|user|>'" in event["what"].replace("'<|system|>', ", "")
    assert "lora.modules_to_save: [embed_tokens, lm_head]" in event["what"]


def test_a_model_that_knows_them_is_not_warned_of(tmp_path: Path) -> None:
    assert warned(tmp_path, base(tmp_path / "base", lambda rows: None)) == []


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        ("messages", {"chat": {"add_tokens": ["<|user|>", "<|assistant|>"]}}),
        ("messages", {"lora": {"modules_to_save": ["embed_tokens", "lm_head"]}}),
        ("text", {}),
        ("messages", {"training": None}),
    ],
    ids=["added", "saved whole", "plain text", "no training"],
)
def test_what_is_trained_or_not_used_is_not_told(tmp_path: Path, kind: str, sections: dict[str, Any]) -> None:
    assert warned(tmp_path, base(tmp_path / "base", zero), kind, **sections) == []
