"""A run that is killed loses at most what no checkpoint in the store has, and ends like an undisturbed one."""

import subprocess

import pytest

from tests import ROOT
from tests.faults.runs import SAVE_STEPS, Run, once
from tests.job_process import follow, kill, started
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("node", ["kept", "lost"])
def test_in_the_writing_of_a_checkpoint(run: Run, node: str) -> None:
    run.attempt(once(kill, "test.half_a_checkpoint"), fault=f"half_a_checkpoint:6;{run.uploads_keep_up}")
    run.check_after()
    if node == "lost":
        run.lose_node()
    again = run.completes()
    assert again.named("train.log")[0]["step"] == 5, "of step 6 there is half a checkpoint"


def test_in_the_upload_of_a_checkpoint(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    held = "/step-000004/optimizer.pt"
    s3_proxy.slow = lambda request: 20 if request[0] == "PUT" and held in request[1] else 0
    s3_run.attempt(when=lambda: s3_proxy.asked(f"PUT .*{held}"), fault="slow_steps:0.4")
    s3_run.check_after()
    assert any(path.parent.name == "step-000004" for path in s3.root.rglob("*")), "a part of it is there"
    s3_proxy.slow = lambda _: 0
    s3_run.lose_node()
    again = s3_run.completes()
    assert again.named("train.log")[0]["step"] == 3


def test_in_an_upload_over_an_earlier_result(s3_run: Run, s3: Bucket, s3_proxy: Proxy) -> None:
    """Files of two results lie side by side, and the manifest names those alone that are as it says."""
    s3_run.completes()
    s3_run.losses, s3_run.spec["run"]["id"] = None, "earlier"
    s3_run.spec["training"]["max_steps"] = 4
    s3_run.lose_node()
    s3_run.ended.clear()  # those were another run's
    s3_proxy.requests.clear()
    last = "/published/report/index.html"
    s3_proxy.slow = lambda request: 20 if request[0] == "PUT" and last in request[1] else 0
    s3_run.attempt(when=lambda: s3_proxy.asked(f"PUT .*{last}"))
    s3_run.check_after()
    assert s3_proxy.asked("PUT .*/published/tiny-Q8_0.gguf")
    assert b'"name": "tiny-Q8_0.gguf"' not in (s3_run.published("manifest.json") or b"")
    s3_proxy.slow = lambda _: 0
    assert s3_run.attempt().code == 0
    s3_run.check_after()


def test_with_its_node_it_loses_one_save_interval_at_most(run: Run) -> None:
    for step in (4, 7, 9):
        killed = run.attempt(once(kill, "train.log", step=step), fault=run.uploads_keep_up)
        assert killed.code < 0, killed.output
        run.check_after()
        run.lose_node()
    run.completes()
    last, first = ([ended.named("train.log")[at]["step"] for ended in run.ended] for at in (-1, 0))
    lost = [before - after + 1 for before, after in zip(last[:-1], first[1:], strict=True)]
    assert max(lost) <= SAVE_STEPS, lost


def test_twice_for_memory_in_one_step_is_a_verdict(run: Run) -> None:
    ended = run.ends(79, fault="killed_at:5")
    assert ended.named("train.retry_after_kill") and "it is the second time" in ended.output
    run.completes()


def test_twice_with_all_of_its_pod_at_one_point_is_a_verdict(run: Run) -> None:
    for _ in range(2):
        run.attempt(once(kill, "stage.start", stage="export"))
        run.check_after()
        run.lose_node()
    first = run.ended[0]
    assert first.named("checkpoint.stored"), "the first attempt made progress, so it is no part of the verdict"
    run.attempt(once(kill, "stage.start", stage="export"))
    ended = run.ends(79)
    assert "2 attempts in a row ended without a message at the same point: export" in ended.output


def test_while_another_pod_works_on_it_one_of_both_wins(run: Run) -> None:
    lease = {"FINETUNE_LEASE_TTL_S": "12"}
    with started(run.spec, run.root / "elsewhere", lease) as other:
        here = run.attempt(**lease)
        there = follow(other)
    run.ended.append(there)
    assert sorted((here.code, there.code)) == [0, 83], here.output + there.output
    run.ended.sort(key=lambda ended: -ended.code)
    run.check_after()


@pytest.fixture(scope="session")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> str:
    library = tmp_path_factory.mktemp("clock") / "skewed_clock.so"
    source = ROOT / "tests" / "faults" / "skewed_clock.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return str(library)


def test_on_a_node_whose_clock_is_two_days_ahead_and_then_on_one_that_is_behind(run: Run, skewed: str) -> None:
    run.attempt(once(kill, "train.log", step=5), LD_PRELOAD=skewed, SKEW_S="172800")
    run.check_after()
    run.lose_node()
    run.completes(LD_PRELOAD=skewed, SKEW_S="-172800")
    times = [ended.events[0]["time"] for ended in run.ended]
    assert times[0] > times[1], "the clocks were skewed"
    assert sorted(path.name for path in (run.root / "store" / "runs").rglob("attempts/*")) == ["1.json", "2.json"]


def test_a_clock_that_s3_does_not_believe_is_the_nodes_fault(s3_run: Run, skewed: str) -> None:
    s3_run.ends(74, LD_PRELOAD=skewed, SKEW_S="172800")
    s3_run.completes()
