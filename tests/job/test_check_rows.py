"""`job check --rows`: rows as the model will see them, and what becomes of all of them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from job.check_rows import described, in_colors, marked
from job.tokens.look import LookedAt, Piece
from tests import forks
from tests.hub_server import Hub
from tests.job_process import environment
from tests.terminal import Terminal

ROW = LookedAt(
    source="a.jsonl:7",
    pieces=[
        Piece(text=text, trained=trained)
        for text, trained in [("<|user|>", False), (" Hi", False), (" Ho\n", True), ("</s>", True), ("\x1b[2J", False)]
    ],
    length=9,
    left_out=["name"],
)


def test_what_is_trained_is_marked_in_the_text_and_token_by_token() -> None:
    assert described(ROW) == (
        "a.jsonl:7, cut to 5 of 9 tokens, 2 of them trained; not shown by the chat template: name"
    )
    assert marked(ROW) == ("<|user|> Hi⟦ Ho\n</s>⟧\x1b[2J\ntokens: <|user|>│ Hi│⟦ Ho\\n│</s>⟧│\x1b[2J")


def test_in_colors_the_same_is_shown_and_nothing_drives_the_terminal() -> None:
    console = Console(force_terminal=True, color_system="standard", width=200)
    with console.capture() as capture:
        console.print(in_colors(ROW))
    shown = capture.get()
    assert "\x1b[1;32m Ho" in shown and "\x1b[2J" not in shown and "\\x1b[2J" in shown


def rows_of(path: Path, count: int) -> Path:
    answer = {"role": "assistant", "content": "Newtown, which is " + "far " * 9}
    rows = [{"messages": [{"role": "user", "content": f"Name town {n}."}, answer], "id": n} for n in range(count)]
    rows += [rows[0]] * 3
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n")
    return path


def check(spec: dict[str, Any], folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [forks.python(), "-m", "job", "check", str(folder / "spec.json"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment(folder / "work"))


@pytest.mark.slow
def test_rows_are_shown_and_all_of_them_are_summed_up(tiny_model: Path, tmp_path: Path) -> None:
    spec = {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(rows_of(tmp_path / "rows.jsonl", 100)), "eval_fraction": 0.1, "max_broken": 0.1},
        "training": {"max_length": 24},
    }
    done = check(spec, tmp_path, "--rows", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "read as messages (messages); conversations in the chat template" in said
    assert "row 1 of 2: rows.jsonl:1, cut to 24 of " in said and "row 2 of 2: rows.jsonl:2" in said
    assert "<|user|> Name town 0.<|end|><|assistant|>⟦ New" in said
    assert "\ntokens: <|user|>│" in said
    assert f"warning: {tmp_path}/rows.jsonl: not trained, as rows are read as messages: id (103 rows)" in said
    assert ", 1 broken\n" in said and "duplicates: 3, of which 3 are trained again" in said
    assert "rows.jsonl that are not trained: id" in said
    assert "training.max_length 24: " in said and "rows cut, 0 left out;" in said and "trained tokens: " in said
    assert said.endswith("the spec is valid\n")
    assert list((tmp_path / "work").iterdir()) == [], "nothing is kept"


@pytest.mark.slow
def test_rows_that_would_end_a_run_end_the_look_too(tiny_model: Path, tmp_path: Path) -> None:
    spec: dict[str, Any] = {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(rows_of(tmp_path / "rows.jsonl", 100)), "too_long": "fail", "max_broken": 0.1},
        "training": {"max_length": 24},
    }
    done = check(spec, tmp_path, "--rows", "1")
    assert done.returncode == 65 and "rows have more tokens than training.max_length, 24" in done.stderr
    done = check({"model": spec["model"], "training": None}, tmp_path, "--rows", "1")
    assert done.returncode == 2 and "no data set, so no rows are trained on" in done.stderr


@pytest.mark.slow
def test_a_model_on_the_hub_is_looked_at_without_its_weights(hub: Hub, tiny_model: Path, tmp_path: Path) -> None:
    hub.add("me/model", tiny_model)
    hub.add("me/rows", {"train.jsonl": rows_of(tmp_path / "rows.jsonl", 20).read_bytes()}, "dataset")
    spec = {"model": {"id": "me/model"}, "dataset": {"id": "me/rows", "max_broken": 0.1}}
    done = check(spec, tmp_path, "--rows", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "row 1 of 1: train.jsonl:1" in done.stdout
    assert sum(one.sent for one in hub.asked("GET .*(safetensors|/cdn/)")) < 200_000


@pytest.mark.slow
def test_on_a_terminal_it_is_in_colors(tiny_model: Path, tmp_path: Path) -> None:
    rows = str(rows_of(tmp_path / "rows.jsonl", 100))
    spec = {"model": {"id": str(tiny_model)}, "dataset": {"id": rows, "max_broken": 0.1}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    command = [forks.python(), "-m", "job", "check", str(tmp_path / "spec.json"), "--rows", "1"]
    terminal = Terminal(command, environment(tmp_path / "work"))
    try:
        assert terminal.ended(300) == 0, terminal.text
    finally:
        terminal.close()
    assert "row 1 of 1: rows.jsonl:1" in terminal.text and "the spec is valid" in terminal.text
    assert b"\x1b[1;32m N\x1b" in terminal.screen and "⟦" not in terminal.text
