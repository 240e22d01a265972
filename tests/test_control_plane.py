"""The control plane of the tests does what a cluster does: schedules, enforces, and ends Jobs as their policy says."""

import time
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.cluster.fixtures import Cluster, eventually
from tests.cluster.nodes import end_pod, run_pod

pytestmark = pytest.mark.slow


def pod_spec(**more: Any) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "containers": [{"name": "main", "image": "none"} | more.pop("container", {})],
    } | more


def job(name: str, **more: Any) -> dict[str, Any]:
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64]}},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [75]}},
    ]
    spec = {"template": {"spec": pod_spec()}, "podFailurePolicy": {"rules": rules}, "backoffLimit": 0}
    return {"metadata": {"name": name}, "spec": spec | more}


def test_a_job_ends_at_once_with_a_code_that_its_policy_names(cluster: Cluster) -> None:
    space = cluster.namespace()
    cluster.nodes.add("plain")
    cluster.batch.create_namespaced_job(space, job("wrong"))
    pod = cluster.pod(space).metadata.name
    run_pod(cluster.core, pod, space)
    end_pod(cluster.core, pod, space, 64)
    assert cluster.condition(space, "wrong", "Failed").reason == "PodFailurePolicy"


def test_an_ignored_end_is_replaced_and_not_counted(cluster: Cluster) -> None:
    space = cluster.namespace()
    cluster.nodes.add("plain")
    cluster.batch.create_namespaced_job(space, job("spot"))
    first = cluster.pod(space).metadata.name
    run_pod(cluster.core, first, space)
    end_pod(cluster.core, first, space, 75)
    other = eventually(
        lambda: next((one for one in cluster.pods(space) if one.metadata.name != first), None), "a replacement"
    )
    run_pod(cluster.core, other.metadata.name, space)
    end_pod(cluster.core, other.metadata.name, space, 0)
    cluster.condition(space, "spot", "Complete")


def test_the_scheduler_honours_labels_resources_and_taints(cluster: Cluster) -> None:
    space = cluster.namespace()
    cluster.nodes.add("cpu")
    cluster.nodes.add("wrong", labels={"gpu": "a100"}, gpus=1)
    cluster.nodes.add("right", labels={"gpu": "t4"}, gpus=1, taints=["nvidia.com/gpu=present:NoSchedule"])
    wanted = {"container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}, "nodeSelector": {"gpu": "t4"}}
    cluster.core.create_namespaced_pod(space, {"metadata": {"name": "one"}, "spec": pod_spec(**wanted)})

    def node_of(name: str) -> Any:
        return cluster.core.read_namespaced_pod(name, space).spec.node_name

    # ExtendedResourceToleration adds the toleration of the resource's own taint.
    assert eventually(lambda: node_of("one"), "a node") == "right"
    cluster.nodes.add("tainted", labels={"gpu": "l4"}, gpus=1, taints=["sku=gpu:NoSchedule"])
    other = wanted | {"nodeSelector": {"gpu": "l4"}}
    cluster.core.create_namespaced_pod(space, {"metadata": {"name": "two"}, "spec": pod_spec(**other)})
    time.sleep(2)
    assert node_of("two") is None


def test_pod_security_restricted_is_enforced(cluster: Cluster) -> None:
    space = cluster.namespace(restricted=True)
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_pod(space, {"metadata": {"name": "p"}, "spec": pod_spec()}, dry_run="All")
    assert refused.value.status == 403 and "PodSecurity" in refused.value.body


def test_a_node_stays_ready_for_as_long_as_it_is_heard_of(cluster: Cluster) -> None:
    cluster.nodes.add("alive")
    cluster.nodes.add("silent")
    cluster.nodes.fall_silent("silent")

    def ready(name: str) -> bool:
        conditions = cluster.core.read_node(name).status.conditions
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    eventually(lambda: not ready("silent"), "the silent node to be lost")
    assert ready("alive")
    cluster.core.delete_node("silent")
