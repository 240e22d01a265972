"""The run store on a real S3 server: parts, lost replies, outages, refused access, servers that can less."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.compat import get_current_datetime

from job.errors import (
    CredentialsRejected,
    EnvironmentUnfit,
    JobError,
    NotFound,
    RemoteUnavailable,
    StorageFailed,
)
from job.store import open_store
from job.store.base import Conflict
from job.store.s3 import S3Store
from tests.job.store.files import MIB, file_of, sha256
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


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


def test_a_server_that_says_nothing_is_named(
    s3: Bucket, silent: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent)
    began = time.monotonic()
    with pytest.raises(RemoteUnavailable, match=r"s3://.*prefix/f.*for 1 s"):
        open_store(s3.url).put("f", b"x")
    assert time.monotonic() - began < 45, "a call may wait as long as all tries together, and botocore's is 60 s"


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


def test_a_line_end_behind_a_key_is_not_a_part_of_it(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Secret made with `--from-file`, or of text that was encoded with its line end."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, f"{os.environ[name]}\n")
    store = open_store(s3.url).patient_for(1)
    store.put("a", b"1")
    assert store.get("a")


def test_a_node_whose_clock_is_wrong_is_left_for_another_one(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    now = get_current_datetime
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: now() + timedelta(days=2))
    with pytest.raises(StorageFailed, match="RequestTimeTooSkewed") as refused:
        open_store(s3.url).probe()
    assert "clock" in refused.value.hint and refused.value.kubernetes == "Count"


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
