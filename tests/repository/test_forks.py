"""A forked stage stands in for a process of its own: signals, ends, output, environment."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import forks

pytestmark = pytest.mark.slow


def start(folder: Path, fault: str | None) -> subprocess.Popen[str]:
    command = [forks.python(), "-m", "job", "stage", "tokens", str(folder), "1"]
    environ = os.environ | {"TOLD": "this"} | ({"FINETUNE_TEST_FAULT": fault} if fault else {})
    return subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A stage that waits, and the number of the process that is really at work."""
    process = start(tmp_path, "told:")
    assert process.stdout
    number, folder, told = process.stdout.readline().split()
    assert (folder, told) == (str(tmp_path), "this") and int(number) != process.pid
    yield process, int(number)
    process.kill()
    process.wait()
    process.stdout.close()


def is_gone(number: int) -> bool:
    for _ in range(500):
        if not Path(f"/proc/{number}").exists():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both(waiting: tuple[subprocess.Popen[str], int], number: int) -> None:
    process, worker = waiting
    process.send_signal(number)
    assert process.wait(100) == -number
    assert is_gone(worker)


def test_the_death_of_the_worker_is_that_of_its_stand_in(waiting: tuple[subprocess.Popen[str], int]) -> None:
    process, worker = waiting
    os.kill(worker, signal.SIGKILL)
    assert process.wait(100) == -signal.SIGKILL


def test_nothing_outlives_its_keeper(waiting: tuple[subprocess.Popen[str], int]) -> None:
    process, worker = waiting
    psutil.Process(worker).parent().kill()
    assert process.wait(100) == 70
    assert is_gone(worker)


def test_it_ends_with_its_code_and_its_output_arrives(tmp_path: Path) -> None:
    process = start(tmp_path, None)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 74 and "inputs.json" in said


def test_a_command_of_the_launcher_is_one_too(tmp_path: Path) -> None:
    command = [forks.commands(), "-m", "k8s.launch", "list"]
    environ = os.environ | {"KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 10 and done.stderr.startswith("error: no cluster is configured"), done.stderr


def test_what_imports_nothing_of_size_is_the_interpreter_itself() -> None:
    assert subprocess.run([forks.python(), "-c", "print(1)"], capture_output=True, check=True).stdout == b"1\n"
