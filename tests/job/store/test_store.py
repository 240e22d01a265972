"""The run store on a real folder and on a real S3 server: the same promises for both."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.artifacts import Artifact, check_name
from job.errors import IntegrityViolated, NotFound, SpecInvalid
from job.store import Store, open_store
from job.store.base import Conflict
from tests.job.store.files import MIB, file_of, sha256
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.fixture(params=["folder", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store is, of each kind."""
    if request.param == "folder":
        return str(tmp_path / "store")
    bucket: Bucket = request.getfixturevalue("s3")
    return bucket.url


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)


@pytest.fixture
def stored_file(url: str, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Where the disk has what is stored under a key, to damage it there."""
    if url.startswith("s3://"):
        bucket: Bucket = request.getfixturevalue("s3")
        return bucket.file
    return lambda key: Path(url) / key


# What both kinds do


def test_what_is_put_is_got_listed_and_deleted(store: Store) -> None:
    assert store.get("runs/a/x.json") is None
    assert store.head("runs/a/x.json") is None
    assert list(store.list("runs/")) == []
    tag = store.put("runs/a/x.json", b"{}")
    assert store.get("runs/a/x.json") == (b"{}", tag)
    found = store.head("runs/a/x.json")
    assert found and found.size == 2
    for key in ("runs/a/y z+ä%.json", "runs/ab", "stages/s"):
        store.put(key, key.encode())
    assert list(store.list()) == ["runs/a/x.json", "runs/a/y z+ä%.json", "runs/ab", "stages/s"]
    assert list(store.list("runs/a")) == ["runs/a/x.json", "runs/a/y z+ä%.json", "runs/ab"]
    store.delete_prefix("runs/a/")
    store.delete("runs/never-there")
    assert list(store.list()) == ["runs/ab", "stages/s"]


def test_a_write_on_a_condition_that_does_not_hold_is_a_conflict(store: Store) -> None:
    first = store.put("lease.json", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put("lease.json", b"2", if_absent=True)
    second = store.put("lease.json", b"2", if_match=first)
    with pytest.raises(Conflict):
        store.put("lease.json", b"3", if_match=first)
    with pytest.raises(Conflict):
        store.put("absent.json", b"3", if_match=first)
    assert store.get("lease.json") == (b"2", second)
    assert store.put("lease.json", b"2", if_absent=True) == second


def test_a_probe_says_that_conditions_are_honoured_and_leaves_nothing(store: Store) -> None:
    assert store.probe() is True
    assert store.conditional is True
    assert list(store.list()) == []


def _race(url: str, racer: int, barrier: Any, wins: Any) -> None:
    """Adds one to a counter, many times, by compare-and-swap."""
    store = open_store(url)
    barrier.wait()
    won = 0
    while won < 10:
        found = store.get("counter")
        assert found
        try:
            store.put("counter", f"{int(found[0].split()[0]) + 1} {racer}".encode(), if_match=found[1])
            won += 1
        except Conflict:
            time.sleep(random.random() * 0.01)
    try:
        store.put("first", str(racer).encode(), if_absent=True)
        wins.put(racer)
    except Conflict:
        pass


def test_of_racing_writers_none_loses_an_update(store: Store, url: str) -> None:
    store.put("counter", b"0 start")
    context = multiprocessing.get_context("fork")
    barrier, wins = context.Barrier(3), context.Queue()
    racers = [context.Process(target=_race, args=(url, number, barrier, wins)) for number in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    found = store.get("counter")
    assert found and found[0].split()[0] == b"30"
    first = store.get("first")
    assert first and first[0] == str(wins.get(timeout=5)).encode()
    assert wins.empty()


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_file_comes_back_as_it_was(store: Store, tmp_path: Path, size: int) -> None:
    path = file_of(tmp_path, size)
    stored = store.put_file("stages/f", path)
    assert stored == Artifact(path="stages/f", sha256=sha256(path), size=size)
    assert store.measure("stages/f") == stored
    store.get_file("stages/f", tmp_path / "back" / "f", stored)
    assert (tmp_path / "back" / "f").read_bytes() == path.read_bytes()
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["f"]


def test_a_file_that_is_there_already_is_not_sent_again_and_another_one_replaces_it(
    store: Store, tmp_path: Path, stored_file: Callable[[str], Path]
) -> None:
    path, other = file_of(tmp_path, 70_000, 1), file_of(tmp_path, 70_000, 2)
    store.put_file("f", path)
    before = stored_file("f").stat().st_ino
    sent: list[int] = []
    store.put_file("f", path, progress=sent.append)
    assert sent == []
    assert stored_file("f").stat().st_ino == before
    store.put_file("f", other, progress=sent.append)
    assert sent[-1] == 70_000
    measured = store.measure("f")
    assert measured and measured.sha256 == sha256(other)


def test_what_was_damaged_in_the_store_is_noticed_and_never_reaches_its_name(
    store: Store, tmp_path: Path, stored_file: Callable[[str], Path]
) -> None:
    stored = store.put_file("f", file_of(tmp_path, 50_000))
    with stored_file("f").open("r+b") as file:
        file.seek(25_000)
        file.write(b"damaged")
    with pytest.raises(IntegrityViolated, match="does not match its SHA-256"):
        store.get_file("f", tmp_path / "back", stored)
    assert not (tmp_path / "back").exists()
    measured = store.measure("f")
    assert measured and measured.sha256 != stored.sha256


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        store.get_file("absent", tmp_path / "f", Artifact(path="f", sha256="0" * 64, size=1))
    assert store.measure("absent") is None
    with pytest.raises(FileNotFoundError):
        store.put_file("f", tmp_path / "nowhere")


def test_a_download_goes_on_where_it_was_cut_off(store: Store, tmp_path: Path) -> None:
    path = file_of(tmp_path, 9 * MIB)
    stored = store.put_file("f", path)

    class CutOff(Exception):
        pass

    def cut(done: int) -> None:
        if done > 5 * MIB:
            raise CutOff

    with pytest.raises(CutOff):
        store.get_file("f", tmp_path / "back", stored, progress=cut)
    assert not (tmp_path / "back").exists()
    seen: list[int] = []
    store.get_file("f", tmp_path / "back", stored, progress=seen.append)
    assert seen[0] > 5 * MIB
    assert sha256(tmp_path / "back") == stored.sha256


def test_a_damaged_beginning_is_fetched_again(store: Store, tmp_path: Path) -> None:
    stored = store.put_file("f", file_of(tmp_path, 30_000))
    (tmp_path / f".back.{stored.sha256[:16]}.tmp").write_bytes(b"x" * 10_000)
    store.get_file("f", tmp_path / "back", stored)
    assert sha256(tmp_path / "back") == stored.sha256


def test_a_writer_that_is_killed_leaves_a_whole_file_or_none(store: Store, url: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, 24 * MIB)
    code = "import sys; from pathlib import Path; from job.store import open_store\n"
    code += (
        "print('go', flush=True); open_store(sys.argv[1]).put_file('f', Path(sys.argv[2])); print('done', flush=True)"
    )
    chance, whole = random.Random(3), 0
    for number in range(6):
        with subprocess.Popen([sys.executable, "-c", code, url, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            writer.stdout.readline()
            threading.Timer(0.2 * number + chance.random() * 0.2, writer.send_signal, [signal.SIGKILL]).start()
            writer.wait()
        measured = store.measure("f")
        if measured is not None:
            whole += 1
            assert measured.sha256 == sha256(path)
        assert list(store.list()) == (["f"] if measured else [])
    store.put_file("f", path)
    measured = store.measure("f")
    assert measured and measured.sha256 == sha256(path)
    assert whole < 6


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/x", "a//b", "", "a/./b", "a\nb", "a\\b", ".."])
def test_a_key_that_leads_elsewhere_is_refused(store: Store, tmp_path: Path, key: str) -> None:
    with pytest.raises(IntegrityViolated):
        store.put(key, b"x")
    with pytest.raises(IntegrityViolated):
        store.get(key)
    assert not (tmp_path / "x").exists()


@given(st.text())
def test_a_checked_key_stays_below_its_folder(key: str) -> None:
    try:
        check_name(key)
    except IntegrityViolated:
        return
    assert os.path.normpath(f"/store/{key}") == "/store/" + key


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="gs://"):
        open_store("gs://bucket/runs")
