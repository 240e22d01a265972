"""A file of cases is read whole, or refused with the line that is wrong, before anything is computed."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.errors import DataInvalid
from job.spec.sections import Tasks
from job.tasks.cases import read_cases, write_cases

CASE = {"prompt": "2 + 2?", "expected": "4"}


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Any]:
    dataset = Tasks(id=str(path)).dataset
    return read_cases(write_cases(dataset, path, path.parent / "out.jsonl"))


def test_cases_of_every_kind_are_read_in_their_order(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    found = read(
        written(
            tmp_path,
            CASE,
            {"messages": messages, "expected": 4, "compare": "numeric", "tolerance": 0.1},
            {"prompt": "As JSON", "expected": {"a": [1]}, "compare": "json"},
        )
    )
    assert [one.compare for one in found] == ["exact", "numeric", "json"]
    assert found[0].source == "cases.jsonl, line 1" and found[1].messages == messages
    assert found[1].tolerance == 0.1 and found[2].expected == {"a": [1]}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("{", "line 2"),
        ({"prompt": "a"}, "`expected` is missing"),
        ({"expected": "a"}, "either `prompt` or `messages`"),
        (CASE | {"messages": []}, "either `prompt` or `messages`"),
        (CASE | {"answer": "4"}, "unknown field answer"),
        (CASE | {"compare": "python"}, "`compare` is not one of exact"),
        (CASE | {"compare": "regex", "expected": "["}, "not a regular expression"),
        (CASE | {"tolerance": 1}, "`tolerance` is for compare: numeric"),
        (CASE | {"compare": "numeric", "tolerance": -1}, "from 0 on"),
        (CASE | {"prompt": ["a"]}, "`prompt` must be a text"),
        ({"messages": [{"role": "user"}], "expected": "a"}, "turn 1: a turn has"),
        ({"messages": [{"role": "assistant", "content": "a"}], "expected": "a"}, "must be the user's"),
    ],
)
def test_a_case_that_cannot_be_used_names_its_line(row: Any, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=why) as caught:
        read(written(tmp_path, CASE, row))
    assert "cases.jsonl, line 2" in caught.value.message


def test_a_file_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid):
        read(written(tmp_path))
