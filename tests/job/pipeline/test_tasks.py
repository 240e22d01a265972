"""Whole runs that score answers: base, tuned and every file, each case asked with the same tokens, nothing twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.run.records import Manifest, read_manifest
from job.store import open_store
from tests.job_process import Ended, run_job

pytestmark = pytest.mark.slow

ANY, NONE = r"[\s\S]*", r"^\b$ never"
CASES: list[dict[str, Any]] = [
    {"prompt": "Of time and", "expected": ANY, "compare": "regex"},
    {"prompt": "Of", "expected": NONE, "compare": "regex"},
    {"messages": [{"role": "user", "content": "Of life?"}], "expected": ANY, "compare": "regex"},
    {"prompt": "A longer beginning of what is said of time", "expected": 4, "compare": "numeric"},
    {"prompt": "said <|not@you|> [a](b)", "expected": ANY, "compare": "regex"},
]


@pytest.fixture
def spec(small_spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """In float32 from end to end, so that answers are the same in transformers and llama.cpp."""
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in CASES))
    small_spec["training"] |= {"max_steps": 2, "save_steps": 100}
    small_spec["evaluation"] |= {"tasks": {"id": str(path), "max_new_tokens": 8}}
    return small_spec | {"load": {"bits": 32}, "export": {"types": ["f32", "q8_0"], "dtype": "f32"}}


def manifest_of(spec: dict[str, Any], ended: Ended) -> Manifest:
    assert ended.code == 0, ended.output
    found = read_manifest(open_store(spec["run"]["store"]), ended.events[-1]["run"])
    assert found
    return found


def answers(spec: dict[str, Any]) -> dict[str, list[str]]:
    """By who gave them, of all that the store has."""
    found = {}
    for record in Path(spec["run"]["store"]).glob("stages/answer/*/stage.json"):
        lines = (record.parent / "answers.jsonl").read_text().splitlines()
        found[json.loads(record.read_text())["metrics"]["type"]] = [json.loads(line)["answer"] for line in lines]
    return found


def test_everyone_answers_each_case_as_it_is_asked_and_nothing_is_asked_twice(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    ended = run_job(spec, tmp_path / "work")
    scores = manifest_of(spec, ended).stages["tasks"].metrics["scores"]
    assert {who: (one["right"], one["cases"]) for who, one in scores.items()} == dict.fromkeys(
        ("base", "tuned", "f32", "q8_0"), (3, 5)
    )
    found = answers(spec)
    assert found["tuned"] == found["f32"], "the same weights, tokens and ends in transformers and in llama.cpp"
    began = {one["stage"]: one["seq"] for one in reversed(ended.named("stage.start"))}
    assert began["tasks"] < began["train"], "cases are checked before a GPU is used"
    published = Path(spec["publish"]["folder"])
    card = (published / "README.md").read_text()
    assert "60% (23% to 88%) of 5" in card and "## Scored answers" in card
    assert "Scored answers" in (published / "report" / "index.html").read_text()

    other = Path(spec["evaluation"]["tasks"]["id"])
    other.write_text(other.read_text() + json.dumps(CASES[0]) + "\n")
    again = run_job(spec, tmp_path / "again")
    assert manifest_of(spec, again).stages["tasks"].metrics["scores"]["base"]["cases"] == 6
    assert {"answer", "score"} <= again.stages_run() and not {"train", "quantize", "evaluate"} & again.stages_run()


def test_a_case_that_cannot_be_used_ends_the_run_before_training(spec: dict[str, Any], tmp_path: Path) -> None:
    path = Path(spec["evaluation"]["tasks"]["id"])
    path.write_text(path.read_text() + '{"prompt": "a", "expected": "(", "compare": "regex"}\n')
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 65 and "cases.jsonl, line 6" in ended.output and "train" not in ended.stages_run()


def test_a_score_that_is_too_low_publishes_nothing(spec: dict[str, Any], tmp_path: Path) -> None:
    spec["evaluation"]["gate"] = {"min_score": 0.95}
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 81 and "Q8_0: 3 of 5 answers are right" in ended.output
    assert not list(Path(spec["publish"]["folder"]).glob("*.gguf"))


def test_without_training_files_alone_are_scored(spec: dict[str, Any], tmp_path: Path) -> None:
    ended = run_job(spec | {"training": None, "load": {}}, tmp_path / "work")
    assert list(manifest_of(spec, ended).stages["tasks"].metrics["scores"]) == ["f32", "q8_0"]
