"""A newcomer's first hour in a terminal, with the files and commands of docs/first-run.md alone.

The checkout is a copy of this one with the environment that `make` has made here; the model is a tiny one in the place
of SmolLM2, with which the page makes a folder called `model`.
"""

import csv
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ROOT, forks
from tests.repository.commands import blocks, specs
from tests.terminal import CTRL_C, Terminal
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "first-run.md"
QUESTION = b"What is the capital of Country 7?\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Where the newcomer sits: a clone with its environment, a table of 200 rows, and a model."""
    folder = tmp_path / "finetune-run"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    make_llama(folder / "model")
    with (folder / "answers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("question", "answer"))
        rows.writerows((f"What is the capital of Country {n}?", f"It is City {n}.") for n in range(200))
    for name, text in specs(PAGE).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def type_in(checkout: Path) -> Callable[[str], Terminal]:
    """Starts one of the page's commands in a terminal, in the environment that it has made. What is imported is the
    same: python is a fork of one that has imported it (`tests/forks.py`)."""
    programs = checkout.with_name("programs")
    programs.mkdir()
    (programs / "python").symlink_to(forks.python())
    path = f"{programs}:{checkout / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment.pop("FINETUNE_WORK", None)
    known = [shlex.split(line, comments=True) for block in blocks(PAGE, "sh") for line in block.splitlines()]

    def start(line: str) -> Terminal:
        assert shlex.split(line) in known, f"{PAGE.name} does not say: {line}"
        return Terminal(shlex.split(line), environment, checkout)

    return start


def done(terminal: Terminal, code: int = 0) -> str:
    ended = terminal.ended(600)
    terminal.close()
    assert ended == code, terminal.text[-5000:]
    assert "Traceback" not in terminal.text
    return terminal.text


def test_a_newcomer_gets_from_a_table_to_files_that_answer(checkout: Path, type_in: Callable[[str], Terminal]) -> None:
    assert "the spec is valid" in done(type_in("python -m job check answers.yaml"))
    assert "model-tuned-Q4_K_M.gguf" in done(type_in("python -m job plan answers.yaml"))

    run = "python -m job run answers.yaml"
    stopped = type_in(run)
    stopped.read_until(lambda: "step 10" in stopped.text or stopped.process.poll() is not None)
    stopped.press(CTRL_C)
    assert "its checkpoint is saved" in done(stopped, 75)

    said = done(type_in(run))
    assert "held-out loss" in said and "try it: " in said and "Q4_K_M" in said
    assert (checkout / "published" / "model-tuned-Q4_K_M.gguf").is_file()
    answered = type_in("python -m job chat published/model-tuned-Q4_K_M.gguf")
    answered.read_until(lambda: "\n> " in answered.text)
    answered.press(QUESTION)
    answered.read_until(lambda: answered.text.count("\n> ") > 1)
    answered.interrupted()
    answered.close()
    assert len(answered.text.rpartition(QUESTION.decode().strip())[2].strip(" \n>")) > 1

    spec = checkout / "answers.yaml"
    spec.write_text(spec.read_text().replace("types: [q4_k_m]", "types: [q4_k_m, q8_0]"))
    said = done(type_in(run))
    assert "training: kept from the run of" in said and "only q8_0 is made" in said
    assert (checkout / "published" / "model-tuned-Q8_0.gguf").is_file()

    done(type_in("python -m job run quantize.yaml"))
    assert list((checkout / "quantized").glob("*Q4_K_M.gguf"))
    done(type_in("python -m job run merge.yaml"))
    assert list((checkout / "merged").glob("*Q8_0.gguf"))
