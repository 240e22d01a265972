"""What a pod has written on its node's disk is counted as the kubelet counts it."""

import os
import subprocess
from pathlib import Path

import pytest

from job import node_disk
from job.errors import EnvironmentUnfit
from job.node_disk import NodeDisk

MB = 1_000_000


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders that count, with a limit of 100 MB."""
    found = [tmp_path / "work", tmp_path / "cache"]
    for folder in found:
        folder.mkdir()
    monkeypatch.setenv(node_disk.LIMIT, str(100 * MB))
    monkeypatch.setenv(node_disk.FOLDERS, ":".join(map(str, found)))
    return found


def test_files_count_by_their_blocks_and_links_once_as_du_counts_them(folders: list[Path]) -> None:
    work, cache = folders
    (work / "a" / "b").mkdir(parents=True)
    (work / "a" / "b" / "large").write_bytes(b"x" * 3 * MB)
    (cache / "same").hardlink_to(work / "a" / "b" / "large")
    (cache / "link").symlink_to(work)
    with (work / "sparse").open("wb") as file:
        file.truncate(50 * MB)
    pod = node_disk.node_disk()
    assert pod
    counted = int(subprocess.run(["du", "-s", "-B1", "-x", work], capture_output=True, text=True).stdout.split()[0])
    assert counted - pod.used()[work] in range(0, 64 * 1024)  # `du` counts the folder itself, too
    assert pod.used()[work] > 3 * MB and pod.used()[cache] < MB


def test_what_may_still_be_written_is_what_the_limit_leaves(folders: list[Path], tmp_path: Path) -> None:
    (folders[0] / "one").write_bytes(b"x" * 10 * MB)
    assert node_disk.free_bytes(folders[1]) == pytest.approx(87 * MB, abs=MB)
    assert node_disk.free_bytes(tmp_path) > 100 * MB, "a volume of its own does not count"


def test_what_is_gone_counts_nothing() -> None:
    assert NodeDisk(1, (Path("/nowhere"),)).used() == {Path("/nowhere"): 0}


def test_outside_of_a_pod_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(node_disk.LIMIT, raising=False)
    assert node_disk.node_disk() is None
    space = os.statvfs(tmp_path)
    assert node_disk.free_bytes(tmp_path) == pytest.approx(space.f_bavail * space.f_frsize, rel=0.1)


def test_a_limit_that_is_not_a_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(node_disk.LIMIT, "40Gi")
    with pytest.raises(EnvironmentUnfit, match="FINETUNE_DISK_LIMIT: '40Gi' is not a number of bytes"):
        node_disk.node_disk()
