"""`finetune-run init` writes a spec that can be sent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from job.spec.load import load
from job.spec.schema import schema
from tests.placeholders import filled


def init(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "k8s.launch", "init", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "my answers.jsonl"
    lines = [{"question": f"What is {n} plus 4?", "answer": str(n + 4)} for n in range(50)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_spec_says_what_the_rows_are_and_is_a_spec(tmp_path: Path, rows: Path) -> None:
    said = init(tmp_path, "--dataset", rows.name, "--model", "Qwen/Qwen3-8B", "--gpu", "t4")
    assert said.returncode == 0, said.stderr
    text = (tmp_path / "my.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=my.schema.json\n")
    assert "  # " in text.split("dataset:")[1].splitlines()[1] and "tokens of a row: " in text
    spec = load(tmp_path / "my.yaml", {})
    assert (spec.model.id, spec.datasets[0].id, spec.recipe) == ("Qwen/Qwen3-8B", rows.name, "modern")
    assert spec.training and spec.export.types == ["q4_k_m", "q8_0"] and spec.publish.name == "my-answers"
    assert json.loads((tmp_path / "my.schema.json").read_text()) == schema()
    assert said.stdout == "" and "that-nobody-has" not in text
    assert "finetune-run plan --spec my.yaml --gpu t4" in said.stderr


def test_every_line_that_is_commented_out_can_be_used(tmp_path: Path, rows: Path) -> None:
    assert init(tmp_path, "--dataset", rows.name, "--model", "a/b").returncode == 0
    text = filled((tmp_path / "my.yaml").read_text())
    lines = [line.replace("# ", "", 1) if _is_field(line) else line for line in text.splitlines()]
    (tmp_path / "all.yaml").write_text("\n".join(lines) + "\n")
    spec = load(tmp_path / "all.yaml", {})
    assert spec.run.store == "s3://my-bucket/runs" and spec.training and spec.training.num_train_epochs == 1
    assert spec.publish.hub and spec.publish.hub.repo_id == "me/my-answers-GGUF"


def _is_field(line: str) -> bool:
    return line.lstrip("# ").split(":")[0] in {
        "eval_fraction", "duplicates", "training", "num_train_epochs", "max_length", "s3", "hub", "run", "store"
    }  # fmt: skip


def test_nothing_is_replaced_unless_it_is_asked_for(tmp_path: Path, rows: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine")
    said = init(tmp_path, "--dataset", rows.name, "--model", "a/b")
    assert said.returncode == 16 and "my.yaml exists already" in said.stderr
    assert (tmp_path / "my.yaml").read_text() == "mine"
    assert init(tmp_path, "--dataset", rows.name, "--model", "a/b", "--force").returncode == 0


def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path, rows: Path) -> None:
    for given, missing in (((), "--dataset"), (("--dataset", rows.name), "--model")):
        said = init(tmp_path, *given)
        assert said.returncode == 16 and f"{missing} is not given" in said.stderr


def test_rows_that_a_run_would_refuse_are_refused_here(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("no json\n")
    said = init(tmp_path, "--dataset", "rows.jsonl", "--model", "a/b")
    assert said.returncode == 65 and not (tmp_path / "my.yaml").exists()
