"""Memory limits are read as the kernel writes them, of both versions of control groups."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from job import cgroup
from job.cgroup import Memory

GIB = 1 << 30
NONE = "9223372036854771712\n"  # what version 1 writes for no limit


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree, a process at its top, and no swap."""
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "OWN", tmp_path / "own")
    monkeypatch.setattr(cgroup, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "own").write_text("0::/\n")
    (tmp_path / "meminfo").write_text("MemTotal:       65536000 kB\nSwapFree:              0 kB\n")
    return tmp_path / "cgroup"


def second(folder: Path, limit: str, anon: int = 0, shmem: int = 0, **more: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"anon {anon}\nfile {7 * GIB}\nkernel 1234\nshmem {shmem}\n")
    for name, text in more.items():
        (folder / f"memory.{name.replace('_', '.')}").write_text(text)


def first(folder: Path, limit: str, rss: int = 0, shmem: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.stat").write_text(f"cache 1\nrss 1\ntotal_rss {rss}\ntotal_shmem {shmem}\n")
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")


def test_in_a_container_its_group_is_at_the_top_and_files_do_not_count(root: Path) -> None:
    second(root, str(4 * GIB), 3 * GIB, GIB // 2, events="low 0\noom 3\noom_kill 3\n")
    assert cgroup.memory() == Memory(3 * GIB + GIB // 2, 4 * GIB)
    assert (cgroup.memory_limit(), cgroup.memory_kills()) == (4 * GIB, 3)


@pytest.mark.parametrize("text", ["0::/user.slice/job\n", "0::/../user.slice/job\n", ""])
def test_a_path_that_is_not_there_is_the_containers_own(root: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "own").write_text(text)
    second(root, str(4 * GIB), GIB)
    assert cgroup.memory() == Memory(GIB, 4 * GIB)


def test_without_a_limit_there_is_nothing_to_watch(root: Path) -> None:
    assert cgroup.memory() is None and cgroup.memory_limit() is None and cgroup.memory_kills() == 0
    second(root, "max", GIB)
    assert cgroup.memory() is None and cgroup.memory_limit() is None
    first(root / "memory", NONE.strip(), GIB)
    assert cgroup.memory() is None and cgroup.memory_limit() is None


def test_a_limit_of_a_group_above_counts(root: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/pods/one\n")
    second(root / "pods" / "one", str(8 * GIB), GIB, events="oom_kill 1\n")
    second(root / "pods", str(5 * GIB), 4 * GIB, events="oom_kill 9\n")
    assert cgroup.memory() == Memory(4 * GIB, 5 * GIB)
    assert (cgroup.memory_limit(), cgroup.memory_kills()) == (5 * GIB, 1)


def test_version_1_is_read_too_beside_an_empty_version_2(root: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/pods/one\n1:cpu:/\n0::/\n")
    first(root / "memory" / "pods" / "one", str(3 * GIB), 2 * GIB, GIB // 4)
    first(root / "memory", NONE.strip())
    assert cgroup.memory() == Memory(2 * GIB + GIB // 4, 3 * GIB)
    assert (cgroup.memory_limit(), cgroup.memory_kills()) == (3 * GIB, 2)


def test_swap_that_is_left_is_room(root: Path, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"SwapFree: {8 * GIB // 1024} kB\n")
    second(root, str(4 * GIB), 4 * GIB, swap_max=f"{2 * GIB}\n", swap_current=f"{GIB}\n")
    assert cgroup.memory() == Memory(4 * GIB, 4 * GIB, GIB)
    second(root, str(4 * GIB), 4 * GIB, swap_max="0\n", swap_current="0\n")
    assert cgroup.memory() == Memory(4 * GIB, 4 * GIB)


HOLD = """
import os, pathlib, sys
sys.path.insert(0, os.getcwd())
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
held = b"x" * (64 << 20)
from job import cgroup
print(*cgroup.memory(), cgroup.memory_limit(), cgroup.memory_kills())
"""


@pytest.fixture
def real_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A group of this machine's, limited to 256 MiB."""
    for parent, limit in (("/sys/fs/cgroup/memory", "limit_in_bytes"), ("/sys/fs/cgroup", "max")):
        group = Path(parent) / f"finetune-run-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / f"memory.{limit}").write_text(str(256 << 20))
            yield group
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("this user may make no memory group here")


def test_the_kernels_own_files_say_what_a_process_holds(real_group: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(real_group / "cgroup.procs")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used, limit, _, lowest, kills = map(int, said.split())
    assert 64 << 20 < used < 128 << 20
    assert (limit, lowest, kills) == (256 << 20, 256 << 20, 0)
