"""Why a pod ended, in the cluster's own words."""

from typing import Any

import pytest

from k8s.cluster.runs import why_it_ended
from k8s.manifest.base import CONTAINER


def pod(*, container: dict[str, Any] | None = None, disruption: str = "", **status: Any) -> dict[str, Any]:
    if container:
        status["containerStatuses"] = [{"name": CONTAINER, "state": {"terminated": container}}]
    if disruption:
        status["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": disruption, "message": "m"}]
    return {"metadata": {"name": "run-abc"}, "status": status}


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (pod(container={"exitCode": 137, "reason": "OOMKilled"}), "killed for memory"),
        (pod(reason="Evicted", message="low on disk"), "evicted the pod (Evicted: low on disk)"),
        (pod(container={"exitCode": 143, "reason": "Error"}, disruption="PreemptionByScheduler"), "higher priority"),
        (pod(disruption="DeletionByTaintManager"), "its node was tainted"),
        (pod(disruption="DeletionByPodGC"), "its node is gone"),
        (pod(container={"exitCode": 137, "reason": "Error"}, reason="Terminated", disruption="TerminationByKubelet"),
         "its node shuts down"),
    ],
)  # fmt: skip
def test_kubernetes_reason_is_told(ended: dict[str, Any], said: str) -> None:
    assert said in why_it_ended(ended)


@pytest.mark.parametrize("code", [0, 65, 137])
def test_a_container_that_ended_by_itself_needs_none(code: int) -> None:
    assert why_it_ended(pod(container={"exitCode": code, "reason": "Error" if code else "Completed"})) == ""
