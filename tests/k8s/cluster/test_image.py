"""A run whose image cannot be pulled is not waited for without end: after 15 minutes it is named, with a code of its
own, by whatever looks at it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.k8s.launcher import Launcher, submit

pytestmark = pytest.mark.slow
MESSAGE = 'Back-off pulling image "registry.example/finetune-run:1": not found'


def failing(launcher: Launcher, minutes: float, *, reason: str = "ImagePullBackOff", at_work: bool = False) -> None:
    """As a kubelet writes that pulling has failed since so many minutes. `at_work`: the container runs by now."""
    core, pod = launcher.cluster.core, launcher.cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace)
    first = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"kind": "Pod", "name": pod.metadata.name, "namespace": launcher.namespace, "uid": pod.metadata.uid}
    event = {
        "metadata": {"generateName": "pull."}, "involvedObject": about, "reason": "Failed", "type": "Warning",
        "message": "Failed to pull image: not found", "firstTimestamp": first, "lastTimestamp": first, "count": 1,
        "source": {"component": "kubelet"},
    }  # fmt: skip
    core.create_namespaced_event(launcher.namespace, event)
    state: dict[str, Any] = {"waiting": {"reason": reason, "message": MESSAGE}}
    status = {"name": "finetune", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    body = {"phase": "Running" if at_work else "Pending", "containerStatuses": [] if at_work else [status]}
    core.patch_namespaced_pod_status(pod.metadata.name, launcher.namespace, {"status": body})


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    cluster.nodes.add("plain")
    return Launcher(cluster, cluster.namespace())


def test_status_wait_and_the_follower_end_with_a_code_of_its_own_after_fifteen_minutes(launcher: Launcher) -> None:
    name = submit(launcher, "--gpu", "none")
    failing(launcher, 16)
    for command in (["status", name], ["status", name, "-o", "json"], ["wait", name], ["logs", "-f", name]):
        said = launcher(*command)
        assert said.code == 20, (command, said.err)
        assert "on node plain has not been able to pull registry.example/finetune-run:1 for 16 minutes" in said.err
        assert "was pushed" in said.err and f"finetune-run cancel {name}" in said.err


@pytest.mark.parametrize(("minutes", "at_work"), [(14, False), (20, True)], ids=["not yet", "it runs by now"])
def test_a_registry_may_come_back(launcher: Launcher, minutes: float, at_work: bool) -> None:
    name = submit(launcher, "--gpu", "none")
    failing(launcher, minutes, at_work=at_work)
    said = launcher("status", name)
    assert said.code == 0 and ("the image cannot be pulled" in said.err) == (not at_work)
    assert launcher("wait", name, "--timeout", "2").code == 17


def test_a_launch_that_waits_ends_with_the_code_too(launcher: Launcher) -> None:
    with launcher.started(
        "launch", "--model", "/no/model", "--dataset", "/rows.jsonl", "--gpu", "none", "--wait"
    ) as run:
        failing(launcher, 30, reason="ErrImageNeverPull")
        _, error = run.communicate(timeout=60)
    assert run.returncode == 20 and "for 30 minutes" in error
