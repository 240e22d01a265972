"""A text that the user names becomes one running text again, whatever it comes as."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.dataset import write_text
from job.errors import DataInvalid, NotFound
from job.spec.sections import PlainText

TEXT = " = A title = \n\n The first line . \n The second line . \n"


def written(path: Path, tmp_path: Path, **settings: Any) -> str:
    dataset = PlainText.model_validate({"id": str(path), **settings}).dataset
    return write_text(dataset, path, tmp_path / "text.txt").read_text(encoding="utf-8")


def test_a_text_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "wiki.test.txt").write_text(TEXT)
    assert written(tmp_path / "wiki.test.txt", tmp_path) == TEXT


@pytest.mark.parametrize("name", ["test.jsonl", "test-00000-of-00001.parquet"])
def test_rows_are_the_lines_of_the_text_and_empty_ones_stay(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "wikitext-2-raw-v1"
    folder.mkdir()
    rows = [{"text": f"{line}\n" if line else ""} for line in TEXT.split("\n")[:-1]]
    if name.endswith("parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)
    else:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "train.jsonl").write_text('{"text": "another split"}\n')
    assert written(tmp_path, tmp_path, config="wikitext-2-raw-v1") == TEXT


def test_another_column_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "body": "One."}\n{"id": "b", "body": null}\n')
    assert written(tmp_path / "rows.jsonl", tmp_path, column="body") == "One.\n\n"


@pytest.mark.parametrize(
    ("name", "content", "settings", "error", "said"),
    [
        ("rows.jsonl", '{"text": "fine"}\nnot JSON\n', {}, DataInvalid, "line 2"),
        ("rows.jsonl", '{"text": 5}\n', {}, DataInvalid, "is not text"),
        ("rows.jsonl", '{"body": "x"}\n', {"column": "text"}, DataInvalid, "no column"),
        ("rows.jsonl", '{"text": ""}\n', {}, DataInvalid, "contains no text"),
        ("text.txt", "\n \n", {}, DataInvalid, "contains no text"),
        ("text.txt", b"\xff\xfeA", {}, DataInvalid, "UTF-16"),
        ("text.txt", b"one\n\xff\xff\n", {}, DataInvalid, "line 2: not UTF-8"),
        ("folder/train.jsonl", '{"text": "fine"}\n', {"split": "test"}, NotFound, "it has train"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: str | bytes, settings: Any, error: type[Exception], said: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(error, match=said):
        written(path.parent if "/" in name else path, tmp_path, **settings)
