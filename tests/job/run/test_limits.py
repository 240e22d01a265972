"""A run ends with the figures before the kernel or the kubelet end it without a word."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from job import cgroup, node_disk
from job.artifacts import Frozen
from job.cgroup import Memory
from job.errors import EnvironmentUnfit, JobError
from job.llama_cpp import process
from job.run import limits
from job.run.supervise import Supervisor, Terminated
from job.spec import JobSpec

GB = 1_000_000_000
SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's group with a limit of 4 GB, of which nothing is used."""
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "meminfo").write_text("SwapFree: 0 kB\n")
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(cgroup, "OWN", tmp_path / "own")
    monkeypatch.setattr(cgroup, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(limits, "MEMORY_EVERY_S", 0.01)
    monkeypatch.setattr(limits, "DISK_EVERY_S", 0.01)
    (tmp_path / "memory.max").write_text(f"{4 * GB}\n")
    hold(tmp_path, 0)
    return tmp_path


def hold(group: Path, used: float) -> None:
    """As if processes of the group held so much, besides files in its cache."""
    temporary = group / "new"
    temporary.write_text(f"anon {int(used)}\nfile {3 * GB}\nshmem 0\n")
    temporary.rename(group / "memory.stat")


class Seen:
    """What the watch calls."""

    def __init__(self) -> None:
        self.faults: list[JobError] = []
        self.pressed = 0
        self.ended = threading.Event()

    def end(self, fault: JobError) -> None:
        self.faults.append(fault)
        self.ended.set()

    def press(self) -> None:
        self.pressed += 1


def test_memory_near_its_limit_ends_the_run_with_stage_and_figures(group: Path) -> None:
    seen = Seen()
    with limits.watched(lambda: "train", seen.end, seen.press):
        hold(group, 3.8 * GB)
        assert not seen.ended.wait(0.2)
        hold(group, 3.9 * GB)
        assert seen.ended.wait(60)
    (fault,) = seen.faults
    assert isinstance(fault, EnvironmentUnfit)
    assert "the stage train uses 3.90 GB of memory, and this container may use 4.00 GB" in fault.message
    assert "--memory" in fault.hint and "resources.memory" in fault.hint


def looked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits until the watch has looked at what is there now."""
    memory, looks = cgroup.memory, threading.Semaphore(0)

    def look() -> Memory | None:
        found = memory()
        looks.release()
        return found

    def wait() -> None:
        while looks.acquire(blocking=False):
            pass
        for _ in range(3):  # one that had begun, one of now, and the beginning of the next
            assert looks.acquire(timeout=60)

    monkeypatch.setattr(cgroup, "memory", look)
    return wait


def test_what_was_used_is_put_on_record_at_each_rise_before_the_end(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, looks = Seen(), looked(monkeypatch)
    with limits.watched(lambda: "train", seen.end, seen.press):
        for used in (3.7, 1.0, 3.7):
            hold(group, used * GB)
            looks()
    assert (seen.pressed, seen.faults) == (2, [])


def test_without_a_limit_nothing_is_watched(tmp_path: Path, group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    hold(group, 400 * GB)
    seen = Seen()
    with limits.watched(lambda: "train", seen.end, seen.press):
        assert not seen.ended.wait(0.2)
    assert seen.pressed == 0


def test_swap_that_is_left_is_no_end() -> None:
    assert limits.memory_fault(Memory(4 * GB, 4 * GB, 2 * GB), "train") is None
    fault = limits.memory_fault(Memory(4 * GB, 4 * GB, 100), "train")
    assert fault and "4.00 GB and 0.00 GB of swap" in fault.message


def test_disk_near_the_pods_limit_ends_the_run_with_each_folders_figure(
    group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, cache = group / "work", group / "cache"
    for folder in (work, cache):
        folder.mkdir()
    monkeypatch.setenv(node_disk.LIMIT, "100000000")
    monkeypatch.setenv(node_disk.FOLDERS, f"{work}:{cache}")
    seen = Seen()
    with limits.watched(lambda: "fetch", seen.end):
        (work / "model").write_bytes(b"x" * 90_000_000)
        assert not seen.ended.wait(0.2)
        (cache / "rows").write_bytes(b"x" * 9_000_000)
        assert seen.ended.wait(5)
    (fault,) = seen.faults
    assert isinstance(fault, EnvironmentUnfit)
    assert f"the stage fetch uses 0.10 GB of the node's disk ({work} 0.09 GB, {cache} 0.01 GB)" in fault.message
    assert "this pod may use 0.10 GB" in fault.message and "--disk" in fault.hint


# --- how the run is ended ---

FAULT = EnvironmentUnfit("the stage train uses too much")


class Inputs(Frozen):
    pass


def waiting_stage(monkeypatch: pytest.MonkeyPatch, script: Path) -> ModuleType:
    """A stage whose child starts another process, and waits for it."""
    script.write_text("import subprocess; subprocess.run(['sleep', '60'])\n")
    run = Supervisor._run
    monkeypatch.setattr(Supervisor, "_run", lambda self, command, seen: run(self, [sys.executable, str(script)], seen))
    module = ModuleType("waiting")
    module.NAME = "waiting"  # type: ignore[attr-defined]
    return module


def test_a_child_at_work_is_killed_and_the_run_ends_with_the_fault(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = waiting_stage(monkeypatch, tmp_path / "child.py")
    threading.Timer(0.5, supervisor.end, [FAULT]).start()
    began = time.monotonic()
    with pytest.raises(EnvironmentUnfit, match="uses too much"):
        supervisor.run_stage(stage, SPEC, Inputs(), tmp_path / "work")
    assert time.monotonic() - began < 20
    with pytest.raises((EnvironmentUnfit, Terminated)):
        supervisor.run_stage(stage, SPEC, Inputs(), tmp_path / "work")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A server of other tests."""
    with subprocess.Popen(["sleep", "600"]) as server:
        yield server
        server.kill()


def test_a_program_that_the_parent_runs_is_ended_too(
    bystander: subprocess.Popen[bytes], supervisor: Supervisor
) -> None:
    threading.Timer(0.5, supervisor.end, [FAULT]).start()
    began = time.monotonic()
    with pytest.raises(Terminated):
        process.run(["sleep", "60"])
    assert time.monotonic() - began < 20
    assert supervisor.fault is FAULT and bystander.poll() is None


def test_a_run_that_is_being_stopped_is_not_ended_again(supervisor: Supervisor) -> None:
    supervisor.stopping.set()
    supervisor.end(FAULT)
    assert supervisor.fault is None
