"""Runs that lose their pod, their node or their store in the middle: they complete, and nothing is done twice."""

import os
import signal
import time
from typing import Any

import pytest

from tests.e2e.node import Cluster
from tests.e2e.place import Place

LONG = {"max_steps": 150, "save_steps": 10, "max_length": 96, "per_device_train_batch_size": 4}


def completed_once(place: Place, job: str) -> list[dict[str, Any]]:
    """Checks that the run has completed, and published once; its events, of all attempts."""
    assert place.ended(job) == "Complete", place.state()
    events = place.events(job)
    ends = [one for one in events if one["event"] == "stage.end" and one.get("stage") == "publish"]
    assert len(ends) == 1
    assert len([key for key in place.stored("models/") if key.endswith(".gguf")]) == 1
    return events


def steps_of(events: list[dict[str, Any]], attempt: int) -> list[int]:
    return [one["step"] for one in events if one["event"] == "train.log" and one["attempt"] == attempt]


def test_a_deleted_pod_is_replaced_and_training_goes_on_from_its_checkpoint(place: Place) -> None:
    job, _ = place.launch(place.spec(training=LONG))
    pod = place.running()
    place.until_step(pod, 25)
    place.delete_pod(pod)
    events = completed_once(place, job)
    assert min(steps_of(events, 2)) > 25
    assert max(steps_of(events, 2)) == LONG["max_steps"]


def test_a_drained_node_gives_the_run_back_when_it_is_uncordoned(place: Place) -> None:
    job, _ = place.launch(place.spec(training=LONG))
    pod = place.running()
    node = place.core.read_namespaced_pod(pod, place.namespace).spec.node_name
    place.until_step(pod, 25)
    try:
        place.kubectl(
            "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s",
            f"--pod-selector=batch.kubernetes.io/job-name={job}",
        )  # fmt: skip
        time.sleep(5)
        assert not place.pods("Running")
    finally:
        place.kubectl("uncordon", node)
    assert min(steps_of(completed_once(place, job), 2)) > 25


def test_a_short_grace_period_saves_progress(place: Place) -> None:
    """No checkpoint is due before the pod is deleted: what there is was written after SIGTERM."""
    job, _ = place.launch(place.spec(training=LONG | {"save_steps": 1000}), "--grace", "20")
    pod = place.running()
    place.until_step(pod, 25)
    place.delete_pod(pod)
    assert min(steps_of(completed_once(place, job), 2)) > 25


def test_a_store_that_is_down_for_a_minute_is_waited_for(place: Place) -> None:
    job, _ = place.launch(place.spec(training=LONG))
    pod = place.running()
    place.until_step(pod, 25)
    place.s3.stop()
    try:
        time.sleep(60)
        assert place.condition(job) == ""
    finally:
        place.s3.start()
    events = completed_once(place, job)
    assert {one["attempt"] for one in events} == {1}


@pytest.mark.own_cluster
def test_a_killed_container_is_named_by_the_next_attempt(place: Place, node: Cluster) -> None:
    """As where the kernel kills all of a container for memory (cgroup v2): PID 1 has no last word."""
    job, _ = place.launch(place.spec(training=LONG))
    pod = place.running()
    place.until_step(pod, 25)
    for process in node.processes_of(place.container(pod)):
        os.kill(process, signal.SIGKILL)
    events = completed_once(place, job)
    said = [one for one in events if one["event"] == "attempt.died"]
    assert [(one["attempt"], one["died"], one["stage"]) for one in said] == [(2, 1, "train")]
    assert min(steps_of(events, 2)) > 10


@pytest.mark.own_cluster
def test_what_the_kernel_kills_for_memory_is_named_and_tried_again(place: Place, node: Cluster) -> None:
    """The child alone, so that PID 1 names it, or with memory.oom.group all of the container: then the next attempt
    does."""
    job, _ = place.launch(place.spec(training=LONG | {"max_steps": 400}))  # still at work when the memory is full
    pod = place.running()
    place.until_step(pod, 25)
    together = node.kills_together(place.container(pod))
    node.kill_for_memory(place.container(pod))
    events = completed_once(place, job)
    names = ("attempt.died", "train.retry_after_kill")
    (said,) = [one for one in events if one["event"] in names]
    assert said["event"] == names[0 if together else 1]
    assert "the kernel killed it for memory" in said["why"] or together
    assert {one["attempt"] for one in events} == ({1, 2} if together else {1})


def ended_unfit(place: Place, job: str) -> str:
    """Checks that the Job has failed with its first pod, which exited 78; its last words."""
    assert place.ended(job) == "Failed", place.state()
    (pod,) = place.pods()
    ended = pod.status.container_statuses[0].state.terminated
    assert ended.exit_code == 78, ended
    return str(ended.message)


@pytest.mark.own_cluster
def test_memory_that_runs_out_ends_the_run_with_the_figures(place: Place, node: Cluster) -> None:
    """Before the kernel kills, with memory.oom.group too, where nothing would be left to say so."""
    job, _ = place.launch(place.spec(training=LONG | {"max_steps": 400}))
    pod = place.running()
    place.until_step(pod, 25)
    node.kills_together(place.container(pod))
    with node.filled(place.container(pod)):
        said = ended_unfit(place, job)
    assert "the stage train uses 3.1" in said and "this container may use 3.22 GB" in said


def test_disk_that_runs_out_ends_the_run_with_the_figures_and_is_not_tried_again(place: Place) -> None:
    job, _ = place.launch(place.spec(training=LONG | {"max_steps": 400}), "--disk", "2Gi")
    pod = place.running()
    place.until_step(pod, 25)
    fill = "import os; fd = os.open('/work/filler', os.O_CREAT | os.O_WRONLY); os.posix_fallocate(fd, 0, 2_100_000_000)"
    place.kubectl("exec", pod, "-n", place.namespace, "--", "python3", "-c", fill)
    said = ended_unfit(place, job)
    assert "of the node's disk (/work 2.1" in said and "this pod may use 2.15 GB" in said
