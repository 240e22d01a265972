"""The run store on a real folder and on a real S3 server: the same promises for both."""

import hashlib
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.artifacts import Artifact
from job.errors import (
    CredentialsRejected,
    EnvironmentUnfit,
    IntegrityViolated,
    JobError,
    NotFound,
    RemoteUnavailable,
    SpecInvalid,
    StorageFailed,
)
from job.store import Conflict, Store, checked, open_store
from job.store_s3 import S3Store
from tests.s3_server import Bucket, Proxy

pytestmark = pytest.mark.slow

MIB = 1 << 20


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


def file_of(folder: Path, size: int, seed: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"file-{size}-{seed}"
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        checked(key)
    except IntegrityViolated:
        return
    assert os.path.normpath(f"/store/{key}") == "/store/" + key


# A folder


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


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="gs://"):
        open_store("gs://bucket/runs")


# S3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_RETRY_S", "1")


def parted(s3: Bucket) -> S3Store:
    """A store with the smallest parts that S3 allows."""
    return S3Store(s3.url, part_size=5 * MIB)


def test_a_large_file_goes_in_parts_whose_checksums_the_server_keeps(s3: Bucket, tmp_path: Path) -> None:
    path, store = file_of(tmp_path, 12 * MIB + 5), parted(s3)
    seen: list[int] = []
    stored = store.put_file("big.gguf", path, progress=seen.append)
    assert seen[-1] == stored.size and len(seen) == 3
    found = s3.client.head_object(Bucket=s3.bucket, Key="prefix/big.gguf", ChecksumMode="ENABLED")
    assert found["ETag"].strip('"').endswith("-3")
    assert found["ChecksumSHA256"]
    seen.clear()
    assert store.put_file("big.gguf", path, progress=seen.append) == stored
    assert seen == []
    store.get_file("big.gguf", tmp_path / "back", stored)
    assert sha256(tmp_path / "back") == sha256(path)
    assert s3.client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", []) == []


def test_an_upload_that_fails_leaves_no_parts_and_no_object(
    s3: Bucket, s3_proxy: Proxy, tmp_path: Path, impatient: None
) -> None:
    s3_proxy.answer = lambda request: 503 if "partNumber=3" in request[1] else None
    store = parted(s3)
    with pytest.raises(RemoteUnavailable, match="part 3 of 3"):
        store.put_file("big", file_of(tmp_path, 12 * MIB))
    assert s3.client.list_multipart_uploads(Bucket=s3.bucket).get("Uploads", []) == []
    assert list(store.list()) == []


def test_a_completed_upload_whose_reply_was_lost_counts(s3: Bucket, s3_proxy: Proxy, tmp_path: Path) -> None:
    lost: list[str] = []

    def lose(request: tuple[str, str]) -> bool:
        if request[0] == "POST" and "uploadId=" in request[1] and len(lost) < 2:
            lost.append(request[1])
            return True
        return False

    s3_proxy.lose_reply = lose
    path = file_of(tmp_path, 6 * MIB)
    stored = parted(s3).put_file("big", path)
    assert len(lost) == 2
    assert stored.sha256 == sha256(path)
    measured = open_store(s3.url).measure("big")
    assert measured and measured.sha256 == stored.sha256


@pytest.mark.parametrize("condition", ["absent", "match"])
def test_a_conditional_write_whose_reply_was_lost_is_ours(s3: Bucket, s3_proxy: Proxy, condition: str) -> None:
    store = open_store(s3.url)
    tag = store.put("lease", b"before") if condition == "match" else None
    lost: list[str] = []

    def lose(request: tuple[str, str]) -> bool:
        if request[0] == "PUT" and not lost:
            lost.append(request[1])
            return True
        return False

    s3_proxy.lose_reply = lose
    store.put("lease", b"mine", if_absent=tag is None, if_match=tag)
    assert lost
    found = store.get("lease")
    assert found and found[0] == b"mine"


def test_an_outage_is_waited_for(s3: Bucket, tmp_path: Path) -> None:
    store, path = open_store(s3.url), file_of(tmp_path, 50_000)
    s3.stop()
    threading.Timer(3, s3.start).start()
    started = time.monotonic()
    store.put_file("f", path)
    assert time.monotonic() - started > 2.5
    found = store.head("f")
    assert found and found.size == 50_000


def test_an_outage_that_does_not_end_is_named(s3: Bucket, impatient: None) -> None:
    store = open_store(s3.url)
    s3.stop()
    with pytest.raises(RemoteUnavailable, match=r"s3://.*prefix/f.*for 1 s"):
        store.put("f", b"x")
    with pytest.raises(RemoteUnavailable):
        store.probe()


def test_errors_of_the_server_are_waited_for(s3: Bucket, s3_proxy: Proxy) -> None:
    answers = [500, 503, 429, 502] * 2
    s3_proxy.answer = lambda _: answers.pop() if answers else None
    store = open_store(s3.url)
    store.put("f", b"x", if_absent=True)
    assert not answers
    assert store.get("f")


def test_a_reading_that_breaks_goes_on_with_the_next_byte(s3: Bucket, s3_proxy: Proxy, tmp_path: Path) -> None:
    path, store = file_of(tmp_path, 9 * MIB), open_store(s3.url)
    stored = store.put_file("f", path)
    cuts = [5 * MIB, 100_000]
    s3_proxy.cut_body_after = lambda request: cuts.pop() if request[0] == "GET" and cuts else None
    store.get_file("f", tmp_path / "back", stored)
    assert not cuts
    assert sha256(tmp_path / "back") == stored.sha256


@pytest.mark.parametrize(
    ("variable", "value", "error", "said"),
    [
        ("AWS_ACCESS_KEY_ID", "AKIDWRONG", CredentialsRejected, "InvalidAccessKeyId|XAdminUserNotFound"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret-value", CredentialsRejected, "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", None, CredentialsRejected, "credentials"),
        ("AWS_PROFILE", "nobody", EnvironmentUnfit, "nobody"),
        ("AWS_ENDPOINT_URL", "no address", EnvironmentUnfit, "no address"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", RemoteUnavailable, "Could not connect"),
    ],
)
def test_wrong_access_is_named_by_the_probe_without_the_secret(
    s3: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
    variable: str,
    value: str | None,
    error: type[JobError],
    said: str,
) -> None:
    if value is None:
        monkeypatch.delenv(variable)
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(error, match=said) as caught:
        open_store(s3.url).probe()
    assert "wrong-secret-value" not in str(caught.value)
    assert s3.server.secret_key not in str(caught.value)
    assert caught.value.hint


def test_a_missing_bucket_is_named(s3: Bucket) -> None:
    with pytest.raises(NotFound, match="nosuchbucket"):
        open_store("s3://nosuchbucket/prefix").probe()


def test_credentials_that_worked_and_are_refused_later_count_as_an_outage(s3: Bucket, s3_proxy: Proxy) -> None:
    store = open_store(s3.url)
    assert store.probe()
    s3_proxy.answer = lambda _: 403
    with pytest.raises(RemoteUnavailable, match="403"):
        store.put("f", b"x")
    with pytest.raises(CredentialsRejected):
        open_store(s3.url).put("f", b"x")


def test_a_server_without_conditional_writes_is_noticed_and_used_as_by_one_writer(s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.drop_request = ("if-match", "if-none-match")
    store = open_store(s3.url)
    assert store.probe() is False
    tag = store.put("a", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_match='"other"')
    assert store.put("a", b"2", if_match=tag) != tag


def test_a_server_that_refuses_conditions_is_used_without_them(s3: Bucket, s3_proxy: Proxy) -> None:
    class Refusing(Proxy):
        def forward(self, handler: Any) -> None:
            self.answer = lambda _: 501 if handler.headers.get("If-None-Match") else None
            super().forward(handler)

    s3_proxy.__class__ = Refusing
    store = open_store(s3.url)
    assert store.probe() is False
    store.put("a", b"1", if_absent=True)
    with pytest.raises(Conflict):
        store.put("a", b"2", if_absent=True)


@pytest.mark.parametrize("size", [1000, 6 * MIB])
def test_on_a_server_that_keeps_no_checksums_the_file_is_read_back(
    s3: Bucket, s3_proxy: Proxy, tmp_path: Path, size: int
) -> None:
    s3_proxy.drop_response = ("x-amz-checksum",)
    path, store = file_of(tmp_path, size), parted(s3)
    stored = store.put_file("f", path)
    assert stored.sha256 == sha256(path)
    assert any(method == "GET" for method, _ in s3_proxy.requests)
    with s3.file("f").open("r+b") as file:
        file.write(b"damaged")
    sent: list[int] = []
    store.put_file("f", path, progress=sent.append)
    assert sent[-1] == size
    store.get_file("f", tmp_path / "back", stored)


def test_a_role_that_may_not_delete_can_still_be_used(s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.answer = lambda request: 403 if request[0] == "DELETE" else None
    assert open_store(s3.url).probe() is True


def test_a_bucket_without_a_prefix_is_a_store_too(s3: Bucket) -> None:
    store = open_store(f"s3://{s3.bucket}")
    store.put("README.md", b"# hello")
    assert list(store.list()) == ["README.md"]
    assert s3.client.head_object(Bucket=s3.bucket, Key="README.md")["ContentType"] == "text/markdown"


@pytest.fixture(autouse=True)
def _no_left_processes() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before + 4
