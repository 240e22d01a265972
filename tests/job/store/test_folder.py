"""The run store on a folder: links, what killed writers leave, full disks."""

import os
import resource
import signal
import time
from pathlib import Path

import pytest

from job.errors import IntegrityViolated, StorageFailed
from job.store import open_store
from tests.job.store.files import MIB, file_of

pytestmark = pytest.mark.slow


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("a", b"x")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (tmp_path / "store" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "store" / "file").symlink_to(tmp_path / "outside" / "secret")
    for key in ("link/secret", "file"):
        with pytest.raises(IntegrityViolated, match="leads out"):
            store.get(key)
        with pytest.raises(IntegrityViolated, match="leads out"):
            store.put(key, b"y")


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    left, fresh = tmp_path / f".f.{'0' * 16}.tmp", tmp_path / f".f.{'1' * 16}.tmp"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (time.time() - 100,) * 2)
    store.put("f", b"whole")
    assert not left.exists()
    assert fresh.exists()
    assert list(store.list()) == ["f"]


def test_a_full_disk_is_a_storage_failure_and_leaves_nothing(tmp_path: Path) -> None:
    path, store = file_of(tmp_path, 3 * MIB), open_store(str(tmp_path / "store"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(StorageFailed):
            store.put_file("f", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list((tmp_path / "store").iterdir()) == []


def test_a_store_where_a_file_lies_is_a_storage_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed):
        open_store(str(tmp_path / "file")).probe()
