"""Ctrl-C in a terminal: the first one saves, the second stops at once."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.job_process import environment
from tests.terminal import CTRL_C, Terminal

pytestmark = pytest.mark.slow


@pytest.fixture
def job(tiny_model: Path, quotes: Path, tmp_path: Path, write: Any) -> Any:
    spec = {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(quotes), "text": "quote", "eval_fraction": 0.1},
        "training": {"max_steps": 2000, "max_length": 48, "save_steps": 1000, "logging_steps": 1},
        "export": {"types": ["q8_0"]},
        "run": {"id": "one", "store": str(tmp_path / "store")},
    }
    command = [sys.executable, "-m", "tests.run_forked", forks.python(), "run", write(json.dumps(spec))]
    terminal = Terminal(command, environment(tmp_path / "work"))
    terminal.read_until(lambda: "step 2 of" in terminal.text)
    yield terminal
    terminal.close()


def test_the_first_saves_a_checkpoint_and_says_how_to_stop_at_once(job: Terminal, tmp_path: Path) -> None:
    job.press(CTRL_C)
    assert job.ended() == 75, job.screen.decode(errors="replace")[-3000:]
    assert b"Ctrl-C again stops at once" in job.screen and b"its checkpoint is saved" in job.screen
    assert list((tmp_path / "store").glob("stages/train/*/checkpoints/step-*/COMPLETE.json"))


def test_the_second_stops_at_once(job: Terminal, tmp_path: Path) -> None:
    job.press(CTRL_C)
    job.press(CTRL_C)
    started = time.monotonic()
    assert job.ended(30) in (75, 76)
    assert time.monotonic() - started < 20
    assert b"Traceback" not in job.screen


def test_no_error_event_is_without_words(job: Terminal, tmp_path: Path) -> None:
    job.press(CTRL_C)
    job.ended()
    written = "".join(path.read_text() for path in (tmp_path / "store").glob("runs/one/events/*.jsonl"))
    assert "stage.error" in written and '"error": ""' not in written and '"error":""' not in written
