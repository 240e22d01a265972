"""Whole runs that search a mix for a budget: what is published, what a killed run keeps, what is refused at the start.

The model is random: of it, types do not differ by what their names promise, but all that the search does is the same.
"""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.job_process import Ended, Event, run_job

pytestmark = pytest.mark.slow
BUDGET, LABEL, JUDGINGS = "4.9bpw", "fit-4.9bpw", 12


def spec_of(model: Path, rows: Path, root: Path, types: list[Any], **parts: Any) -> dict[str, Any]:
    return {
        "model": {"id": str(model)},
        "dataset": {"id": str(rows), "text": "quote", "eval_fraction": 0.5},
        "training": None,
        "evaluation": {"samples": 1, "max_new_tokens": 4, "context": 32},
        "export": {"types": types},
        "publish": {"name": "tiny", "folder": str(root / "published")},
        "run": {"store": str(root / "store")},
    } | parts


def records(root: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((root / "store/stages" / stage).glob("*/stage.json"))]


def published(root: Path) -> set[str]:
    return {path.name for path in (root / "published").glob("*.gguf")} - {"tiny-imatrix.gguf"}


def measured(ended: Ended) -> int:
    return len(ended.named("fit.measured"))


FIT = {"fit": BUDGET, "judgings": JUDGINGS}


@pytest.fixture(scope="module")
def whole(tiny_model: Path, quotes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A run that was left alone."""
    root = tmp_path_factory.mktemp("whole")
    return root, run_job(spec_of(tiny_model, quotes, root, [FIT]), root / "work")


def test_the_mix_is_published_with_its_curve_and_keeps_to_the_budget(whole: tuple[Path, Ended]) -> None:
    root, ended = whole
    assert ended.code == 0, ended.output
    (found,) = records(root, "fit")
    metrics = found["metrics"]
    assert metrics["published"] == LABEL and published(root) == {"tiny-FIT-4.9BPW.gguf"}
    assert len(metrics["searched"]) <= JUDGINGS and measured(ended) == len(records(root, "fit-point"))
    assert metrics["found"]["kld"] < min(preset["kld"] for preset in metrics["presets"].values())
    (made,) = records(root, "quantize")
    assert made["metrics"]["bits_per_weight"] <= 4.9
    size = (root / "published/tiny-FIT-4.9BPW.gguf").stat().st_size
    assert size == metrics["found"]["size"] and size <= metrics["room"] + metrics["beside"]
    judged = next(one["metrics"] for one in records(root, "evaluate") if one["metrics"]["type"] == LABEL)
    assert judged["distance"]["kld"] == metrics["found"]["kld"]
    card = (root / "published/README.md").read_text()
    assert "FIT-4.9BPW were searched for: the least KL divergence within 4.9bpw" in card
    assert f"(plot-{LABEL}.png)" in card and (root / f"published/plot-{LABEL}.png").stat().st_size > 10_000
    assert "that the search did not see" in (root / "published/report/index.html").read_text()
    manifest = json.loads((root / "published/manifest.json").read_text())
    assert manifest["stages"][f"fit/{LABEL}"]["metrics"]["mix"] == metrics["mix"]


def test_nothing_of_a_candidate_stays_on_the_disk(whole: tuple[Path, Ended]) -> None:
    assert not list(whole[0].rglob("*candidate*"))


def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been_killed(
    whole: tuple[Path, Ended], tiny_model: Path, quotes: Path, tmp_path: Path
) -> None:
    spec = spec_of(tiny_model, quotes, tmp_path, [FIT])
    seen = 0

    def kill(process: subprocess.Popen[str], event: Event) -> None:
        nonlocal seen
        seen += event["event"] == "fit.measured"
        if seen == 5:
            os.killpg(process.pid, signal.SIGKILL)

    assert run_job(spec, tmp_path / "work", {"FINETUNE_LEASE_TTL_S": "3"}, on_event=kill).code == -signal.SIGKILL
    shutil.rmtree(tmp_path / "work", ignore_errors=True)  # another node
    kept = len(records(tmp_path, "fit-point"))
    assert kept in (5, 6)  # it may have got one further
    ended = run_job(spec, tmp_path / "work", {"FINETUNE_LEASE_TTL_S": "3"})
    assert ended.code == 0, ended.output
    (first,), (second,) = records(whole[0], "fit"), records(tmp_path, "fit")
    assert measured(ended) == len(records(whole[0], "fit-point")) - kept
    assert second["metrics"] == first["metrics"]


def test_a_preset_that_is_better_is_published_instead(
    whole: tuple[Path, Ended], tiny_model: Path, quotes: Path, tmp_path: Path
) -> None:
    """The records of the whole run are here, but say that the mix was bad on the half that decides."""
    shutil.copytree(whole[0] / "store" / "stages", tmp_path / "store" / "stages")
    shutil.rmtree(tmp_path / "store" / "stages" / "fit")
    for path in (tmp_path / "store" / "stages" / "fit-point").glob("*/stage.json"):
        record = json.loads(path.read_text())
        if record["inputs"]["types"] and not record["inputs"]["searched"]:
            path.write_text(json.dumps(record | {"metrics": record["metrics"] | {"kld": 9.0}}))
    ended = run_job(spec_of(tiny_model, quotes, tmp_path, ["q8_0", FIT]), tmp_path / "work")
    assert ended.code == 0, ended.output
    (found,) = records(tmp_path, "fit")
    preset = found["metrics"]["published"]
    assert measured(ended) == 0 and preset in found["metrics"]["presets"]
    assert published(tmp_path) == {"tiny-Q8_0.gguf", f"tiny-{preset.upper()}.gguf"}
    assert [event["preset"] for event in ended.named("fit.preset_is_better")] == [preset]
    card = (tmp_path / "published/README.md").read_text()
    assert f"No mix of types within 4.9bpw was found that is better than {preset.upper()}" in card


def test_the_mix_is_scored_like_every_other_file(
    whole: tuple[Path, Ended], tiny_model: Path, quotes: Path, tmp_path: Path
) -> None:
    """With what the whole run has kept: nothing is searched again because answers are asked for."""
    shutil.copytree(whole[0] / "store" / "stages", tmp_path / "store" / "stages")
    cases = [{"prompt": "Of", "expected": expected, "compare": "regex"} for expected in (r"[\s\S]*", r"^\b$ never")]
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    spec = spec_of(tiny_model, quotes, tmp_path, ["q8_0", FIT])
    spec["evaluation"] |= {"tasks": {"id": str(tmp_path / "cases.jsonl"), "max_new_tokens": 4}}
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0 and measured(ended) == 0, ended.output
    asked = {record["metrics"]["type"]: record["metrics"]["cases"] for record in records(tmp_path, "answer")}
    assert asked == {"f16": 2, "q8_0": 2, LABEL: 2}
    scores = json.loads((tmp_path / "published/manifest.json").read_text())["stages"]["tasks"]["metrics"]["scores"]
    assert scores[LABEL]["right"] == 1 and scores[LABEL]["against"] == "f16"
    share = "50% (9% to 91%) of 2"
    line = next(one for one in (tmp_path / "published/README.md").read_text().splitlines() if "FIT-4.9BPW.gguf" in one)
    assert share in line
    assert share in (tmp_path / "published/report/index.html").read_text()


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ({"fit": "1.1bpw"}, "1.1bpw is too little: the smallest file, "),
        ({"fit": "3M", "context": 100_000}, "with 100,000 tokens of context"),
        ({"fit": "1G"}, "1G is more than the unquantized file, which takes 4"),
        ({"fit": "16bpw"}, "16bpw is more than the unquantized file, which takes 16.0"),
    ],
)
def test_an_impossible_budget_is_refused_before_anything_is_trained(
    tiny_model: Path, quotes: Path, tmp_path: Path, fit: dict[str, Any], said: str
) -> None:
    spec = spec_of(tiny_model, quotes, tmp_path, [fit])
    del spec["training"]
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 64 and said in ended.output
    assert ended.stages_run() <= {"preflight", "rehearse"}


def test_too_few_held_out_rows_are_told_before_a_training(tiny_model: Path, quotes: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, quotes, tmp_path, [{"fit": "4.9bpw"}])
    del spec["training"]
    spec["dataset"] |= {"eval_fraction": 0.2}
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 65 and "too few held-out tokens to search" in ended.output
    assert "train" not in ended.stages_run()
