"""Ctrl-C in a terminal: the first one saves, the second stops at once."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.job_process import environment

pytestmark = pytest.mark.slow

CTRL_C = b"\x03"


class Terminal:
    """A job with a terminal of its own; what it writes there is read all the time, as a terminal does."""

    def __init__(self, spec: Path, work: Path) -> None:
        self.screen = b""
        self._side, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import fcntl, os, sys, termios; os.setsid();"
             " fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
             "-m", "job", "run", str(spec)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment(work, {"TERM": "xterm", "COLUMNS": "100"}),
        )  # fmt: skip
        os.close(theirs)

    def press(self, keys: bytes) -> None:
        os.write(self._side, keys)

    def read_until(self, done: Callable[[], object], timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < until, self.screen[-3000:].decode(errors="replace")
            if select.select([self._side], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self._side, 1 << 16)
                except OSError:  # the last process that had the terminal has ended
                    return

    def ended(self, timeout_s: float = 120) -> int:
        self.read_until(lambda: self.process.poll() is not None, timeout_s)
        return self.process.wait(timeout=10)


@pytest.fixture
def job(tiny_model: Path, quotes: Path, tmp_path: Path, write: Any) -> Any:
    spec = {
        "model": {"id": str(tiny_model)},
        "dataset": {"id": str(quotes), "text": "quote", "eval_fraction": 0.1},
        "training": {"max_steps": 2000, "max_length": 48, "save_steps": 1000, "logging_steps": 1},
        "export": {"types": ["q8_0"]},
        "run": {"id": "one", "store": str(tmp_path / "store")},
    }
    terminal = Terminal(write(json.dumps(spec)), tmp_path / "work")
    terminal.read_until(lambda: b"train.log" in terminal.screen)
    yield terminal
    terminal.process.kill()
    terminal.process.wait()


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
