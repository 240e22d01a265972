"""How a run ends on a real API server, and what is said of it: its own code, an interruption, a kill."""

from typing import Any

import pytest

from job.errors import every_error
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import BARE, Launcher, submit

pytestmark = pytest.mark.slow


def test_a_failed_run_is_made_again_under_its_name(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(64)
    cluster.condition(launcher.namespace, name, "Failed")
    again = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert again.code == 0 and "submitted again" in again.err
    (job,) = launcher.jobs()
    assert job["metadata"]["name"] == name
    launcher.end_pod(0)
    cluster.condition(launcher.namespace, name, "Complete")
    assert launcher("wait", name).code == 0


@pytest.mark.parametrize(
    "error", [one for one in every_error() if one.kubernetes == "FailJob"], ids=lambda one: one.__name__
)
def test_a_fault_that_no_retry_mends_ends_the_run_with_its_code(
    launcher: Launcher, cluster: Cluster, error: Any
) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(error.code, message="model.id: there is no such model\nName another one.")
    said = launcher("wait", name)
    assert said.code == error.code
    assert "model.id: there is no such model" in said.err and "Name another one." in said.err
    assert launcher("list", "-o", "json").json()[0]["code"] == error.code


def test_an_interruption_is_replaced_and_explained_and_does_not_count(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    first = launcher.end_pod(75)
    said = launcher("status", name)
    assert "waiting for a new pod after exit code 75" in said.err or launcher.pod() != first
    eventually(lambda: launcher.pod() != first, "a replacement", timeout_s=60)
    launcher.end_pod(0)
    cluster.condition(launcher.namespace, name, "Complete")


def test_a_container_that_was_killed_for_memory_is_named(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(78, reason="OOMKilled")
    said = launcher("wait", name)
    assert said.code == 78 and "killed for memory" in said.err
