"""The control plane of the tests does what a cluster does: schedules, enforces, and ends Jobs as their policy says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from k8s.manifest.base import CONTAINER, failure_policy
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
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
    ]
    spec = {"template": {"spec": pod_spec()}, "podFailurePolicy": {"rules": rules}, "backoffLimit": 0}
    return {"metadata": {"name": name}, "spec": spec | more}


def gpu_job(name: str) -> dict[str, Any]:
    wanted = {"container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}}
    return job(name, template={"spec": pod_spec(**wanted)})


def unschedulable(cluster: Cluster, space: str, name: str) -> str:
    """Why the scheduler has put the pod nowhere, as soon as it says so."""

    def why() -> Any:
        conditions = cluster.core.read_namespaced_pod(name, space).status.conditions or []
        return next((one.message for one in conditions if one.reason == "Unschedulable"), None)

    return str(eventually(why, f"{name} to be unschedulable"))


def test_a_job_ends_at_once_with_a_code_that_its_policy_names(cluster: Cluster) -> None:
    space = cluster.namespace()
    cluster.nodes.add("plain")
    cluster.batch.create_namespaced_job(space, job("wrong", backoffLimit=3))
    pod = cluster.pod(space).metadata.name
    run_pod(cluster.core, pod, space)
    end_pod(cluster.core, pod, space, 64)
    assert cluster.condition(space, "wrong", "Failed").reason == "PodFailurePolicy"
    assert cluster.batch.read_namespaced_job("wrong", space).status.failed == 1


@pytest.mark.parametrize("end", [{"code": 75}, {"code": 137, "evicted": "TerminationByKubelet"}])
def test_an_ignored_end_is_replaced_and_not_counted(cluster: Cluster, end: dict[str, Any]) -> None:
    space = cluster.namespace()
    cluster.nodes.add("plain")
    cluster.batch.create_namespaced_job(space, job("spot"))
    first = cluster.pod(space).metadata.name
    run_pod(cluster.core, first, space)
    end_pod(cluster.core, first, space, **end)
    other = eventually(
        lambda: next((one for one in cluster.pods(space) if one.metadata.name != first), None), "a replacement"
    )
    run_pod(cluster.core, other.metadata.name, space)
    end_pod(cluster.core, other.metadata.name, space, 0)
    cluster.condition(space, "spot", "Complete")


def test_an_end_that_no_rule_names_counts(cluster: Cluster) -> None:
    space = cluster.namespace()
    cluster.nodes.add("plain")
    cluster.batch.create_namespaced_job(space, job("bug"))
    end_pod(cluster.core, cluster.pod(space).metadata.name, space, 70)
    assert cluster.condition(space, "bug", "Failed").reason == "BackoffLimitExceeded"


def test_a_stop_that_saved_nothing_counts_unless_the_cluster_took_the_pod_away(cluster: Cluster) -> None:
    """The kubelet sets no DisruptionTarget when it ends a pod for its use of disk: not counted, it would loop."""
    space = cluster.namespace()
    cluster.nodes.add("plain")
    policy = {"podFailurePolicy": failure_policy("FailJob")}
    body = job("stopped", template={"spec": pod_spec(container={"name": CONTAINER})}, **policy)
    cluster.batch.create_namespaced_job(space, body)
    first = cluster.pod(space).metadata.name
    run_pod(cluster.core, first, space)
    end_pod(cluster.core, first, space, 76, evicted="EvictionByEvictionAPI")
    other = eventually(
        lambda: next((one for one in cluster.pods(space) if one.metadata.name != first), None), "a replacement"
    )
    run_pod(cluster.core, other.metadata.name, space)
    end_pod(cluster.core, other.metadata.name, space, 76)
    assert cluster.condition(space, "stopped", "Failed").reason == "BackoffLimitExceeded"


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
    assert "1 node(s) had untolerated taint" in unschedulable(cluster, space, "two")
    assert node_of("two") is None


def test_pod_security_restricted_is_enforced(cluster: Cluster) -> None:
    space = cluster.namespace(restricted=True)
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_pod(space, {"metadata": {"name": "p"}, "spec": pod_spec()}, dry_run="All")
    assert refused.value.status == 403 and "PodSecurity" in refused.value.body
    inner = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    outer = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    obedient = pod_spec(container={"securityContext": inner}, securityContext=outer)
    cluster.core.create_namespaced_pod(space, {"metadata": {"name": "p"}, "spec": obedient}, dry_run="All")
    privileged = pod_spec(container={"securityContext": {"privileged": True}}, securityContext=outer)
    with pytest.raises(ApiException, match="privileged"):
        cluster.core.create_namespaced_pod(space, {"metadata": {"name": "p"}, "spec": privileged}, dry_run="All")


def test_a_node_stays_ready_for_as_long_as_it_is_heard_of(cluster: Cluster) -> None:
    cluster.nodes.add("alive")
    cluster.nodes.add("silent")
    cluster.nodes.fall_silent("silent")

    def ready(name: str) -> bool:
        conditions = cluster.core.read_node(name).status.conditions
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    eventually(lambda: not ready("silent"), "the silent node to be lost")
    assert ready("alive")


def test_what_a_test_leaves_behind_takes_no_node_of_the_next_one(cluster: Cluster) -> None:
    before = cluster.namespace()
    cluster.batch.create_namespaced_job(before, gpu_job("left"))
    unschedulable(cluster, before, cluster.pod(before).metadata.name)
    cluster.clear()
    assert cluster.pods(before) == []
    with pytest.raises(ApiException, match="being terminated"):
        cluster.batch.create_namespaced_job(before, gpu_job("late"))


def test_a_service_account_may_do_what_its_role_says_and_no_more(cluster: Cluster) -> None:
    space = cluster.namespace()
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]
    kinds = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reader"}}
    role = {**kinds, "kind": "Role", "rules": rules}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": space}
    granted = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    binding = {**kinds, "kind": "RoleBinding", "subjects": [subject], "roleRef": granted}
    for one in (role, binding):
        cluster.plane.kubectl("create", "-n", space, "-f", "-", stdin=json.dumps(one))
    api = config.new_client_from_config(str(cluster.plane.account(space)))
    assert client.BatchV1Api(api).list_namespaced_job(space).items == []
    with pytest.raises(ApiException, match="cannot list resource"):
        client.CoreV1Api(api).list_namespaced_pod(space)
    asked = cluster.plane.asked_by(f"system:serviceaccount:{space}:default")
    assert asked == {("list", "jobs"), ("list", "pods")}


def test_nothing_runs_on_when_the_test_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.cluster.control_plane import ControlPlane;"
        "ControlPlane(Path(sys.argv[1])).start(); print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        children = psutil.Process(process.pid).children()
        assert len(children) == 4
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
