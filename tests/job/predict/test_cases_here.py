"""The cases of `evaluation.tasks` are counted before a run if they lie here; otherwise a plan says what it assumes."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.plan import describe
from job.predict.anatomy import anatomy_of
from job.predict.cases_here import ASSUMED, cases_here
from job.predict.gpus import GPUS
from job.predict.prediction import predict
from job.predict.timing import Machine
from job.spec import JobSpec
from tests.job.predict.sizes import SIZES

SEVEN = anatomy_of(SIZES["7B"][0], "7B")


def spec(cases: Path | str, model: str = "a/b", **tasks: Any) -> JobSpec:
    sections = {"dataset": {"id": "a/b"}, "evaluation": {"tasks": {"id": str(cases), **tasks}}}
    return JobSpec.model_validate({"model": {"id": model}, **sections})


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Three, of 40 bytes on average."""
    rows: list[dict[str, Any]] = [{"prompt": "a" * 20}, {"prompt": "b" * 40}]
    rows.append({"messages": [{"role": "system", "content": "c" * 20}, {"role": "user", "content": "d" * 40}]})
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(row | {"expected": "1"}) + "\n" for row in rows))
    return path


def test_cases_that_lie_here_are_counted(cases: Path) -> None:
    found = cases_here(spec(cases))
    assert (found.count, found.tokens) == (3, 10) and found.how == "by all of them, at 4 bytes a token"


def test_the_split_that_a_run_reads_is_counted(cases: Path) -> None:
    folder = cases.parent / "folder"
    folder.mkdir()
    (folder / "test.jsonl").write_text(cases.read_text())
    (folder / "train.jsonl").write_text(cases.read_text() * 5)
    assert cases_here(spec(folder)).count == 3
    assert cases_here(spec(folder, split="train")).count == 15


@pytest.mark.parametrize("place", ["me/cases", "s3://bucket/cases.jsonl", "nowhere.jsonl", "EMPTY", "BROKEN"])
def test_cases_that_cannot_be_read_from_here_are_assumed(tmp_path: Path, place: str) -> None:
    given = {"EMPTY": b"", "BROKEN": b"\x80\x81{\n"}
    path = tmp_path / "cases.jsonl"
    if place in given:
        path.write_bytes(given[place])
        place = str(path)
    assert cases_here(spec(place)) == ASSUMED


def test_a_file_of_the_machine_is_not_read_if_that_is_not_wanted(cases: Path) -> None:
    """The price of a push (push/price.py)."""
    assert cases_here(spec(cases), ("hub",)) == ASSUMED


def test_the_time_of_scoring_follows_the_number_of_cases(cases: Path) -> None:
    machine = Machine(GPUS["t4"])
    few, assumed = (
        predict(spec(cases), SEVEN, machine, cases=one, exact=False).seconds
        for one in (cases_here(spec(cases)), ASSUMED)
    )
    for stage in ("score", "answer"):
        assert 0 < (few[stage].most or 0) < 0.5 * (assumed[stage].most or 0)


def test_the_plan_says_how_many_cases_it_counted_or_assumes(cases: Path, tiny_model: Path) -> None:
    said = describe(spec(cases, str(tiny_model)))
    assert "# evaluation.tasks: 3 cases of " in said and "(by all of them, with the model's tokenizer)" in said
    said = describe(spec("me/cases", str(tiny_model)))
    assert "# evaluation.tasks: 200 cases of 200 tokens on average (assumed: they are read in the run)" in said
