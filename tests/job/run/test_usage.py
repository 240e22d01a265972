"""Memory over time is seen, kept small, and no reason to fail."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from job import cgroup
from job.cgroup import Memory
from job.errors import StorageFailed
from job.report.plots import stage_bands
from job.run import usage
from job.run.usage import Usage, UsageLog, anonymous_memory, read_usage
from job.store import Store, open_store


def measure(store: Store, attempt: int, stage: str, points: int) -> None:
    """An attempt that is measured at least so often, and takes at least 0.4 s."""
    measured = threading.Semaphore(0)

    def name() -> str:
        measured.release()
        return stage

    log = UsageLog(store, "run", attempt, name)
    for _ in range(points):
        assert measured.acquire(timeout=60)
    time.sleep(0.4)
    log.close()


def test_a_run_of_two_attempts_has_both_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "FIRST_PAUSE_S", 0.01)
    store = open_store(str(tmp_path))
    for attempt, stage in ((1, "train"), (2, "export")):
        measure(store, attempt, stage, 5)
    first, second = read_usage(store, "run")
    assert set(first.stages) == {"train"} and set(second.stages) == {"export"}
    assert first.began < second.began
    assert len(first.seconds) == len(first.memory) == len(first.stages) > 3
    assert all(10_000_000 < memory < 20_000_000_000 for memory in first.memory)


def test_what_counts_against_the_containers_limit_is_written_at_once_if_somebody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FIRST_PAUSE_S", 600)
    monkeypatch.setattr(cgroup, "memory", lambda: Memory(5, 6))
    store = open_store(str(tmp_path))
    log = UsageLog(store, "run", 1, lambda: "train")
    log.look_now()
    until = time.monotonic() + 20
    while not (found := read_usage(store, "run")) and time.monotonic() < until:
        time.sleep(0.01)
    assert (found[0].used, found[0].limit, found[0].stages) == (5, 6, ["train"])
    log.close()


def test_a_long_run_is_kept_in_few_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(usage, "POINTS", 20)
    monkeypatch.setattr(usage, "anonymous_memory", lambda: 1)
    store = open_store(str(tmp_path))
    measure(store, 1, "train", 50)
    (found,) = read_usage(store, "run")
    assert 5 < len(found.seconds) <= 20
    assert found.seconds[-1] >= 0.4


def test_an_attempt_counts_to_its_end_however_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "FIRST_PAUSE_S", 600)
    store = open_store(str(tmp_path))
    log = UsageLog(store, "run", 1, lambda: "train")
    time.sleep(0.3)
    log.close()
    (found,) = read_usage(store, "run")
    assert found.seconds[-1] >= 0.3 and found.stages == ["train"]


@pytest.mark.parametrize("damage", [b"", b"{}", b"[" * 100_000])
def test_a_damaged_file_is_left_out_and_named(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(str(tmp_path))
    UsageLog(store, "run", 1, lambda: "train").close()
    store.put("runs/run/usage/0002.json", damage)
    assert len(read_usage(store, "run")) == 1
    assert "runs/run/usage/0002.json is damaged" in capsys.readouterr().out


@pytest.mark.parametrize("error", [StorageFailed("the disk is full"), OSError(5, "I/O error"), ValueError("any")])
def test_a_store_that_refuses_is_a_warning(error: Exception) -> None:
    class Refusing:
        def put(self, *_: Any, **__: Any) -> None:
            raise error

    log = UsageLog(Refusing(), "run", 1, lambda: "train")  # type: ignore[arg-type]
    log.close()


@pytest.mark.slow
def test_the_memory_of_children_counts_and_mapped_files_do_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\1" * 200_000_000)
    code = (
        "import mmap, sys; held = bytearray(b'\\1' * 150_000_000); file = open(sys.argv[1], 'rb');"
        "seen = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); sum(seen[::4096]); print('ready', flush=True);"
        "sys.stdin.read()"
    )
    before = anonymous_memory()
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        grown = anonymous_memory() - before
        child.communicate()
    assert 140_000_000 < grown < 190_000_000


def test_stretches_of_one_stage_are_one_band() -> None:
    seen = Usage(
        began=0, seconds=[1, 2, 3, 5, 6], stages=["fetch", "train", "train", "export", "train"], memory=[1] * 5
    )
    assert stage_bands(seen) == [("fetch", 0, 1), ("train", 1, 3), ("export", 3, 5), ("train", 5, 6)]
