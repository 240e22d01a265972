"""Rows that appear twice are counted, and left out if the spec says so; so are held-out rows that are trained too."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.dataset import Prepared, prepare
from job.spec.sections import Dataset


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def texts(path: Path | None) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path else []


def make(out: Path, *paths: Path, **options: Any) -> Prepared:
    given = {"eval_fraction": 0} | options
    return prepare([(Dataset(id=str(path), **given), path) for path in paths], seed=1, system=None, out=out)


TWICE = ["a", "b", "a", "c", "b", "a"]


def test_rows_that_appear_twice_are_counted_and_kept(tmp_path: Path) -> None:
    prepared = make(tmp_path / "out", write(tmp_path / "a.jsonl", TWICE))
    assert (prepared.rows, prepared.duplicates, prepared.dropped) == (6, 3, 0)
    assert texts(prepared.train) == TWICE


def test_they_are_left_out_but_for_the_first_if_the_spec_says_so(tmp_path: Path) -> None:
    prepared = make(tmp_path / "out", write(tmp_path / "a.jsonl", TWICE), duplicates="drop")
    assert (prepared.rows, prepared.duplicates, prepared.dropped) == (3, 3, 3)
    assert texts(prepared.train) == ["a", "b", "c"]


def test_what_a_row_becomes_is_compared_and_not_how_it_is_written(tmp_path: Path) -> None:
    rows = ['{"id": 1, "text": "a"}', '{"text":  "a", "id": 2}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert make(tmp_path / "out", tmp_path / "a.jsonl").duplicates == 1


def test_a_data_set_that_is_named_twice_is_meant_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["a", "b"])
    prepared = make(tmp_path / "out", path, path, duplicates="drop")
    assert (prepared.rows, prepared.duplicates) == (4, 0)


@pytest.mark.parametrize("seed", range(5))
def test_with_rows_left_out_each_side_keeps_a_row(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "a.jsonl", ["a"] * 30 + ["b"])
    dataset = Dataset(id="a.jsonl", eval_fraction=0.5, duplicates="drop")
    prepared = prepare([(dataset, path)], seed=seed, system=None, out=tmp_path / "out")
    assert sorted(texts(prepared.train) + texts(prepared.eval)) == ["a", "b"]
    assert prepared.eval_seen == 0


def test_held_out_rows_that_are_trained_too_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [str(n % 10) for n in range(200)])
    prepared = make(tmp_path / "out", path, eval_fraction=0.1)
    assert prepared.eval_seen == prepared.eval_rows > 0
    dropped = make(tmp_path / "dropped", path, eval_fraction=0.1, duplicates="drop")
    assert (dropped.rows + dropped.eval_rows, dropped.eval_seen) == (10, 0)


def test_rows_of_a_named_split_are_looked_for_in_every_data_set(tmp_path: Path) -> None:
    write(tmp_path / "set/train.jsonl", ["a", "b", "c"])
    write(tmp_path / "set/test.jsonl", ["c", "d", "e"])
    other = write(tmp_path / "other.jsonl", ["e", "x"])
    sets = [(Dataset(id="./set", eval_split="test"), tmp_path / "set"), (Dataset(id="o", eval_fraction=0), other)]
    assert prepare(sets, seed=1, system=None, out=tmp_path / "out").eval_seen == 2
