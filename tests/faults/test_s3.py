"""S3 that fails under a run: what passes is waited for, what does not ends the attempt, and the next one completes."""

import json
import time

import pytest

from tests.faults.runs import Run
from tests.s3_proxy import Proxy, Request
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow

UNREACHABLE = 69


def test_a_storm_of_errors_and_slow_replies_is_waited_for(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    """Every request is answered 500, 503, slowly and at last well, in turns."""
    turns = iter(range(10**6))

    def answer(_: Request) -> int | None:
        return {0: 500, 2: 503}.get(next(turns) % 5)

    s3_proxy.answer = answer
    s3_proxy.slow = lambda request: 0.5 if len(s3_proxy.requests) % 7 == 0 else 0
    s3_run.completes()


def test_replies_that_are_lost_make_nothing_twice(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    """Those of CompleteMultipartUpload and of conditional writes, which take effect unseen."""
    lost: list[Request] = []

    def lose(request: Request) -> bool:
        takes_effect = (request[0] == "POST" and "uploadId=" in request[1]) or request[1].endswith("manifest.json")
        if takes_effect and request[0] in ("POST", "PUT") and request not in lost:
            lost.append(request)
            return True
        return False

    s3_proxy.lose_reply = lose
    s3_run.spec["export"]["types"] = ["f32"]
    s3_run.completes(FINETUNE_TEST_CONSTANTS='{"job.store.s3_multipart:PART_SIZE": 5242880}')
    assert {request[0] for request in lost} == {"POST", "PUT"}, lost


def test_credentials_that_expire_end_the_attempt_and_fresh_ones_go_on(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.answer = lambda _: 403 if s3_proxy.asked("PUT .*/checkpoints/.*/COMPLETE.json") else None
    ended = s3_run.attempt(fault="slow_steps:0.2", FINETUNE_RETRY_S="2")
    s3_proxy.answer = lambda _: None
    assert ended.code == UNREACHABLE, ended.output
    s3_run.check_after()
    s3_run.lose_node()
    s3_run.completes()


def test_a_role_that_may_not_delete_is_enough(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.answer = lambda request: 403 if request[0] == "DELETE" else None
    ended = s3_run.completes()
    assert ended.named("checkpoint.stored") and not ended.named("checkpoint.not_stored")
    assert ended.named("checkpoint.not_deleted")


def test_a_conflict_with_a_write_that_is_under_way_is_tried_again(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    left = {"manifest.json": 2, "stage.json": 2, "attempts/1.json": 1}

    def answer(request: Request) -> int | None:
        for name in left:
            if request[0] == "PUT" and name in request[1] and left[name]:
                left[name] -= 1
                return 409
        return None

    s3_proxy.answer = answer
    s3_run.completes()
    assert not any(left.values())


def test_what_another_attempt_has_written_first_counts(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    """Just before each record is written, the same one appears, by somebody who finished a moment earlier."""
    written: list[str] = []

    def write_first(request: Request, body: bytes) -> None:
        name = request[1].partition("?")[0]
        if request[0] != "PUT" or "/runs/" not in name or name in written:
            return
        if name.endswith(("stage.json", "manifest.json")):
            written.append(name)
            other = json.loads(body) | {"finished": "2001-01-01T00:00:00+00:00"}
            s3.client.put_object(Bucket=s3.bucket, Key=name.removeprefix(f"/{s3.bucket}/"), Body=json.dumps(other))

    s3_proxy.before = write_first
    s3_run.completes()
    assert len(written) >= 5
    manifest = s3_run.manifest()
    assert manifest and manifest.finished == "2001-01-01T00:00:00+00:00"


def test_a_server_that_says_nothing_ends_the_attempt(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    s3_proxy.slow = lambda request: 3600 if request[0] == "PUT" and "/published/tiny" in request[1] else 0
    began = time.monotonic()
    s3_run.ends(UNREACHABLE, FINETUNE_RETRY_S="2")
    assert time.monotonic() - began < 300
    s3_proxy.slow = lambda _: 0
    again = s3_run.completes()
    assert not again.named("train.log")
