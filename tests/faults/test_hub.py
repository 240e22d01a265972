"""A Hub that fails under a run: one commit at most, whatever is lost, and nothing that does not match its hash."""

import json
from pathlib import Path

import pytest

from tests.faults.runs import REPO, Run
from tests.hub_server import Hub

pytestmark = pytest.mark.slow

UNREACHABLE, DAMAGED = 69, 82
IMPATIENT = {
    "FINETUNE_TEST_CONSTANTS": json.dumps(
        {
            "job.hub.calls:STALL_S": 0.5,
            "job.hub.calls:STALLS": 1,
            "job.hub.calls:FIRST_WAIT_S": 0.01,
            "job.hub.calls:TRIES": 2,
        }
    ),
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
}


def commits(hub: Hub) -> int:
    """Those of runs: the first is the Hub's own."""
    return len(hub.repo(REPO).history("main")) - 1


@pytest.mark.parametrize("request_", ["PUT /lfs-store", "POST .*/preupload", "POST .*/commit/", "GET .*/commits"])
def test_too_many_requests_are_waited_for(hub_run: Run, hub: Hub, request_: str) -> None:
    fault = hub.fail(request_, times=2, status=429, headers={"Retry-After": "1"})
    hub_run.completes()
    assert fault.times == 0 and commits(hub) == 1


def test_a_commit_that_was_made_though_the_hub_said_500_is_not_made_again(hub_run: Run, hub: Hub) -> None:
    hub.fail("POST .*/commit/", times=1, status=500, after=True)
    hub_run.completes()
    assert commits(hub) == 1


def test_a_commit_that_was_made_before_the_run_gave_up_is_found_by_the_next_attempt(hub_run: Run, hub: Hub) -> None:
    hub.fail("POST .*/commit/", times=1, status=500, after=True)
    lost = hub.fail("GET .*/commits/", times=1000, status=503)
    lost.times = 0

    def lose_sight() -> bool:
        if hub.asked("POST .*/commit/"):
            lost.times = 1000
        return False

    hub_run.attempt(when=lose_sight, **IMPATIENT)
    assert commits(hub) == 1
    lost.times = 0
    hub_run.lose_node()
    hub_run.completes()
    assert commits(hub) == 1


@pytest.mark.parametrize("status", [409, 412])
def test_a_commit_of_somebody_else_in_between_is_built_upon(hub_run: Run, hub: Hub, status: int) -> None:
    hub.fail("POST .*/commit/", times=1, status=status)
    hub_run.completes()
    assert commits(hub) == 1


def test_a_put_that_is_never_answered_ends_the_attempt(hub_run: Run, hub: Hub) -> None:
    stall = hub.fail("PUT /lfs-store", times=1000, delay_s=3600)
    hub_run.ends(UNREACHABLE, **IMPATIENT)
    stall.times = 0
    again = hub_run.completes()
    assert not again.named("train.log")


def test_xet_that_stalls_ends_the_attempt(hub_run: Run, xet_hub: Hub, silent: str) -> None:
    assert xet_hub.xet
    url, xet_hub.xet.url = xet_hub.xet.url, silent
    hub_run.ends(UNREACHABLE, **IMPATIENT)
    xet_hub.xet.url = url
    hub_run.completes()


@pytest.mark.parametrize("times", [2, 1000])
def test_a_download_that_arrives_damaged_is_fetched_again_and_then_refused(
    run: Run, hub: Hub, tiny_model: Path, times: int
) -> None:
    hub.add("a/model", tiny_model)
    run.spec["model"]["id"] = "a/model"
    damaged = hub.fail("GET /cdn/", times=times, corrupt=True)
    if times == 2:  # the first is the beginning of a file, of which only the header counts
        ended = run.completes()
        assert ended.named("hub.corrupt")
        return
    run.ends(DAMAGED)
    damaged.times = 0
    run.completes()
