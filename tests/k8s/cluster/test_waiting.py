"""Why a run does not run yet, as `status` says it: from what scheduler, autoscaler and kubelet write about its pod."""

from typing import Any

import pytest

from tests.cluster.fixtures import Cluster, eventually
from tests.cluster.nodes import now
from tests.k8s.launcher import Launcher, submit

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    return Launcher(cluster, cluster.namespace())


def tell(cluster: Cluster, pod: Any, reason: str, message: str, source: str) -> None:
    """An Event about a pod, as the component `source` writes it."""
    about = {"kind": "Pod", "name": pod.metadata.name, "namespace": pod.metadata.namespace, "uid": pod.metadata.uid}
    event = {
        "metadata": {"generateName": f"{pod.metadata.name}."}, "involvedObject": about, "reason": reason,
        "message": message, "type": "Normal", "source": {"component": source}, "firstTimestamp": now(),
        "lastTimestamp": now(), "count": 1,
    }  # fmt: skip
    cluster.core.create_namespaced_event(pod.metadata.namespace, event)


@pytest.mark.parametrize(
    ("reason", "message", "source", "said"),
    [
        ("TriggeredScaleUp", "pod triggered scale-up: [{t4 0->1 (max: 2)}]", "cluster-autoscaler", "is adding a node"),
        ("NotTriggerScaleUp", "1 max node group size reached", "cluster-autoscaler", "no autoscaler can add"),
        ("Nominated", "Pod should schedule on: nodeclaim/t4-x", "karpenter", "is adding a node"),
    ],
)
def test_what_an_autoscaler_does_about_it_is_said(
    launcher: Launcher, cluster: Cluster, reason: str, message: str, source: str, said: str
) -> None:
    cluster.nodes.add("cpu", provider="gce://project/zone/cpu")  # the pool of T4s is scaled to zero
    name = submit(launcher, "--gpu", "t4")
    pod = cluster.pod(launcher.namespace)
    tell(cluster, pod, reason, message, source)
    eventually(lambda: cluster.pod(launcher.namespace).status.conditions, "the scheduler's word")
    found = launcher("status", name).err
    assert "no node for its pod yet: 0/1 nodes are available" in found and said in found


def test_of_a_node_that_lacks_one_quantity_the_quantity_is_named(launcher: Launcher, cluster: Cluster) -> None:
    """The autoscaler has added the machine, with the disk of the node group's default."""
    cluster.nodes.add("cpu", provider="aws:///eu-1/i-1")
    name = submit(launcher, "--gpu", "t4", "--disk", "33Gi")
    labels = {"node.kubernetes.io/instance-type": "g4dn.xlarge"}
    cluster.nodes.add("t4", labels=labels, gpus=1, provider="aws:///eu-1/i-2", room={"ephemeral-storage": "18Gi"})
    status = lambda: launcher("status", name).err  # noqa: E731
    found = eventually(lambda: said if "Insufficient" in (said := status()) else None, "the scheduler's word")
    assert "no node has 33Gi of ephemeral-storage free" in found and "--scratch or a smaller --disk" in found
    assert "of memory" not in found and "of cpu" not in found


@pytest.mark.parametrize(
    ("reason", "message", "source", "said"),
    [
        (
            "NotTriggerScaleUp",
            "pod didn't trigger scale-up: 1 Insufficient ephemeral-storage",
            "cluster-autoscaler",
            "no node has 33Gi of ephemeral-storage free",
        ),
        (
            "FailedScheduling",
            'Failed to schedule pod, incompatible with nodepool "gpu", no instance type has enough resources',
            "karpenter",
            "the run requests 33Gi of ephemeral-storage; a node of Karpenter has 20Gi",
        ),
    ],
)
def test_a_quantity_that_no_new_node_would_have_is_named(
    launcher: Launcher, cluster: Cluster, reason: str, message: str, source: str, said: str
) -> None:
    cluster.nodes.add("cpu", provider="aws:///eu-1/i-1")
    name = submit(launcher, "--gpu", "t4", "--disk", "33Gi")
    tell(cluster, cluster.pod(launcher.namespace), reason, message, source)
    eventually(lambda: cluster.pod(launcher.namespace).status.conditions, "the scheduler's word")
    found = launcher("status", name).err
    assert said in found and f"no autoscaler can add a suitable node: {message}" in found


@pytest.mark.parametrize(
    ("reason", "message", "advice"),
    [
        ("ErrImagePull", "failed to resolve reference: pull access denied, authorization failed", "--pull-secret"),
        ("ImagePullBackOff", "manifest unknown", "was pushed"),
        ("CreateContainerConfigError", 'secret "tokens" not found', "Create the Secret tokens"),
    ],
)
def test_a_container_that_cannot_start_is_explained_with_what_to_do(
    launcher: Launcher, cluster: Cluster, reason: str, message: str, advice: str
) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    pod = launcher.pod()
    state = {"waiting": {"reason": reason, "message": message}}
    status = {"name": "finetune", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    cluster.core.patch_namespaced_pod_status(
        pod, launcher.namespace, {"status": {"phase": "Pending", "containerStatuses": [status]}}
    )
    said = launcher("status", name).err
    assert message in said and advice in said
