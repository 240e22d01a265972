"""Who works on a run: one at a time, whatever their clocks say."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from job.errors import IntegrityViolated, LeaseHeld, PeerActive
from job.run import lease
from job.store import Store, open_store

KEY = "runs/one/lease.json"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_LEASE_TTL_S", "3")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def take(store: Store, job: str = "a", on_lost: Callable[[], None] = lambda: None) -> lease.Lease:
    return lease.acquire(store, KEY, job=job, attempt=f"{job}-1", on_lost=on_lost)


def test_a_live_peer_of_the_same_job_and_another_job_are_told_apart(store: Store) -> None:
    held = take(store)
    with pytest.raises(PeerActive, match="attempt a-1 of Job a"):
        take(store)
    with pytest.raises(LeaseHeld, match="Job a"):
        take(store, "b")
    held.release()


@pytest.mark.timeout(60)
def test_a_released_lease_is_free_at_once_and_its_holders_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_LEASE_TTL_S", "600")
    first = take(store)
    first.release()
    second = take(store, "b")
    assert (first.holder.holders, second.holder.holders) == (1, 2)
    second.release()


def test_a_lease_that_an_earlier_release_left_is_taken_over(store: Store) -> None:
    left = {"job": "a", "attempt": "a-0", "fence": 3, "host": "h [1] 1 1", "renewed": 7, "free": True}
    store.put(KEY, json.dumps(left).encode())
    held = take(store)
    assert held.holder.holders == 4
    held.release()


@pytest.mark.timeout(60)
def test_a_holder_that_died_on_this_machine_is_replaced_at_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, sys; from job.run import lease; from job.store import open_store\n"
        f"lease.acquire(open_store({str(tmp_path / 'store')!r}), {KEY!r}, job='a', attempt='dead', on_lost=print)\n"
        "os._exit(0)"
    )
    monkeypatch.setenv("FINETUNE_LEASE_TTL_S", "600")
    subprocess.run([sys.executable, "-c", script], check=True)
    held = take(store)
    assert held.holder.holders == 2
    held.release()


def test_a_holder_elsewhere_that_no_longer_renews_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(lease, "host_identity", lambda: "another-boot pid:[1] 1 1")
        elsewhere.setattr(lease.Lease, "keep", lambda self: self)
        silent = take(store)
    held = take(store)
    assert held.holder.holders == silent.holder.holders + 1
    held.release()


def test_the_one_that_lost_its_lease_is_told(store: Store) -> None:
    lost = threading.Event()
    take(store, on_lost=lost.set)
    found = store.get(KEY)
    assert found
    store.put(KEY, found[0].replace(b'"holders":1', b'"holders":2'), if_match=found[1])
    assert lost.wait(60)


def test_of_many_contenders_one_wins(store: Store) -> None:
    won: list[lease.Lease] = []
    refused: list[Exception] = []

    def contend(number: int) -> None:
        try:
            won.append(lease.acquire(store, KEY, job="a", attempt=str(number), on_lost=lambda: None))
        except PeerActive as error:
            refused.append(error)

    threads = [threading.Thread(target=contend, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 7)
    won[0].release()


@pytest.mark.parametrize("damage", [b"", b"null", b'{"job": "a"}', b"{" * 100_000, b"\xff"])
def test_a_damaged_lease_is_named_with_what_to_do(store: Store, damage: bytes) -> None:
    store.put(KEY, damage)
    with pytest.raises(IntegrityViolated, match=f"{KEY} is damaged") as refusal:
        take(store)
    assert "delete it" in refusal.value.hint
