"""Rows as tokens, made by the stage itself with the tiny tokenizer."""

import json
from pathlib import Path
from typing import Any

from job.spec import JobSpec
from job.tokens import stage
from job.tokens.encoder import NO_LOSS, Encoded, Encoder
from job.tokens.tokenizer import load_tokenizer
from tests.tiny_models import copy_tokenizer

TALK = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]


def spec_of(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "me/model"}, "dataset": {"id": "./rows.jsonl"}} | sections)


def tokenizer_folder(folder: Path, **settings: Any) -> Path:
    copy_tokenizer(folder, **settings)
    return folder


def made(
    folder: Path, rows: list[dict[str, Any]], kind: str, model: Path | None = None, **sections: Any
) -> stage.Result:
    """What the stage makes of rows, each of which is trained and held out."""
    model = model or tokenizer_folder(folder / "model")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    inputs = stage.Inputs(model=model, rows=path, train=path, kind=kind)
    return stage.run(spec_of(**sections), inputs, folder)


def rows_in(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return found


def encoded(model: Path, kind: str, row: dict[str, Any], **sections: Any) -> tuple[Encoded, Any]:
    """A row, and the tokenizer."""
    tokenizer = load_tokenizer(spec_of(**sections), model)
    return Encoder(spec_of(**sections), tokenizer, kind).encode(row), tokenizer


def learned(found: Encoded, tokenizer: Any) -> str:
    """The text of the tokens with a loss."""
    return str(tokenizer.decode([label for label in found.labels if label != NO_LOSS]))
