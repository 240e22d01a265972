"""What is told of rows that go along, before anything is sent."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job.spec import JobSpec
from k8s.inputs.look import NOT_COUNTED, look


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {number} of some text"}) + "\n" for number in range(40)))
    return str(path)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[JobSpec]:
    """The specs whose rows were counted: the counting itself takes a model (tests/job/test_check_rows.py)."""
    found: list[JobSpec] = []

    def count(spec: JobSpec, folder: Path) -> Iterator[str]:
        found.append(spec)
        yield f"{len(found)} counted"

    monkeypatch.setattr("job.check_rows.counted", count)
    monkeypatch.setattr("k8s.inputs.look.find_spec", lambda name: name)
    return found


def spec(model: str, rows: str, **training: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": model}, "dataset": {"id": rows}, "training": training})


def test_a_sweeps_rows_are_counted_once_for_each_way_in_which_they_are_read(rows: str, counted: list[JobSpec]) -> None:
    runs = [
        spec("/m", rows, max_length=64, learning_rate=1e-4),
        spec("/m", rows, max_length=64, learning_rate=2e-4),
        spec("/m", rows, max_length=512),
        spec("/unreadable", rows, max_length=512),
    ]
    assert list(look(runs, [rows], reachable=[True, True, True, False]))[2:] == [
        'runs 0, 1 (model.id "/m", training.max_length 64): 1 counted',
        'run 2 (model.id "/m", training.max_length 512): 2 counted',
        f'run 3 (model.id "/unreadable", training.max_length 512): {NOT_COUNTED}: '
        "the tokenizer of /unreadable cannot be read",
    ]
    assert counted == [runs[0], runs[2]]


def test_of_a_sweep_over_what_changes_no_tokens_the_rows_are_counted_once(rows: str) -> None:
    runs = [spec("/m", rows, learning_rate=rate) for rate in (1e-4, 2e-4, 3e-4)]
    assert list(look(runs, [rows], reachable=[True] * 3))[2:] == ["1 counted"]


def test_rows_that_are_elsewhere_are_not_counted_and_that_is_told(rows: str) -> None:
    runs = [spec("owner/model", where) for where in ("owner/rows", rows)]
    assert list(look(runs, [rows], reachable=[True, True]))[2:] == [
        f'run 0 (dataset.id "owner/rows"): {NOT_COUNTED}: owner/rows is read by the run',
        f'run 1 (dataset.id …{rows[-39:]}"): 1 counted',
    ]
