"""What `list` and `status` say of a run at work: from its log, and how long its pods have run."""

import json
from typing import Any

import pytest

from k8s.cluster.progress import Progress, progress_of
from k8s.cluster.runs import run_of
from k8s.manifest.base import CONTAINER
from k8s.output import doing


def lines(*events: dict[str, Any]) -> list[bytes]:
    return [json.dumps(event).encode() for event in events]


STEP = {"event": "train.log", "stage": "train", "step": 120, "total": 500, "loss": 1.2345, "eta_s": 1500}


def test_a_training_says_its_step_its_loss_and_what_is_left() -> None:
    found = progress_of(lines({"event": "train.held_out", "stage": "train", "loss": 2.0}, STEP))
    assert doing(found) == "training 120 of 500 steps, loss 1.234, 25m00s left"


def test_another_stage_begins_anew() -> None:
    bar = {"event": "progress", "stage": "publish", "done": 2e9, "total": 4e9, "unit": "bytes", "eta_s": 61}
    assert doing(progress_of(lines(STEP, {"event": "stage.start", "stage": "export"}))) == "export"
    assert doing(progress_of(lines(STEP, bar))) == "publishing 2.0 GB of 4.0 GB, 1m01s left"


def test_what_is_not_an_event_of_ours_is_passed_over() -> None:
    odd = [b"Traceback", b"[1]", b'{"event": 1}', b"\xff", *lines(STEP | {"step": "x\x1b[2J", "total": None})]
    assert progress_of(odd) == Progress(stage="train", loss=1.2345, left_s=1500, unit="steps")
    assert progress_of([b"no event"]) is None and doing(None) == ""


def job(price: str | None = None) -> Any:
    env = [{"name": "FINETUNE_PRICE_PER_HOUR", "value": price}] if price is not None else []
    pod = {"containers": [{"name": CONTAINER, "env": env}]}
    metadata = {"name": "a", "namespace": "b", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"template": {"spec": pod}}}


def pod(state: dict[str, Any]) -> Any:
    return {"status": {"containerStatuses": [{"name": "proxy", "state": {}}, {"name": CONTAINER, "state": state}]}}


ENDED = {"exitCode": 75, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T01:30:00Z"}


@pytest.mark.parametrize(("price", "cost"), [("0.5", 1.5), (None, None), ("free", None)])
def test_the_time_of_all_pods_counts_and_costs_what_the_job_says(price: str | None, cost: float | None) -> None:
    found = run_of(job(price), [pod({"terminated": ENDED}), pod({"terminated": ENDED}), pod({"waiting": {}})])
    assert (found.held_s, found.cost) == (3 * 3600, cost)


def test_a_run_whose_pods_have_not_started_or_are_gone_has_no_time() -> None:
    assert run_of(job("1"), [pod({"waiting": {}})]).held_s is None
    assert run_of(job("1")).held_s is None
