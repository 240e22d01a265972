"""GPUs that are served by Dynamic Resource Allocation, on a real API server with a real scheduler."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, Launcher, add, submit

pytestmark = pytest.mark.slow
DRIVER = "gpu.nvidia.com"


class Driver:
    """What NVIDIA's DRA driver and its Helm chart write."""

    def __init__(self, cluster: Cluster) -> None:
        self._api = client.CustomObjectsApi(cluster.api)

    def publishes(self, node: str, *kinds: str) -> None:
        devices = [
            {"name": f"{kind}-{number}", "attributes": {"type": {"string": kind}}} for number, kind in enumerate(kinds)
        ]
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        self._create("resourceslices", f"{node}-{DRIVER}", driver=DRIVER, nodeName=node, pool=pool, devices=devices)

    def has_class(self, **more: str) -> None:
        expression = f"device.driver == '{DRIVER}' && device.attributes['{DRIVER}'].type == 'gpu'"
        self._create("deviceclasses", DRIVER, selectors=[{"cel": {"expression": expression}}], **more)

    def _create(self, plural: str, name: str, **spec: Any) -> None:
        kind = {"resourceslices": "ResourceSlice", "deviceclasses": "DeviceClass"}[plural]
        body = {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self._api.create_cluster_custom_object("resource.k8s.io", "v1", plural, body)

    def clear(self) -> None:
        for plural in ("resourceslices", "deviceclasses"):
            self._api.delete_collection_cluster_custom_object("resource.k8s.io", "v1", plural)


@pytest.fixture
def driver(cluster: Cluster) -> Iterator[Driver]:
    """Two nodes that are labelled as the GPU operator does; one has a card, the other only a slice of one."""
    found = Driver(cluster)
    for name in ("by-dra", "slice"):
        add(cluster, replace(whole("gfd", "t4", name), gpus={}))
    found.publishes("by-dra", "gpu")
    found.publishes("slice", "mig")
    yield found
    found.clear()


def test_the_same_job_is_scheduled_where_a_device_class_stands_for_its_request(
    driver: Driver, cluster: Cluster
) -> None:
    driver.has_class(extendedResourceName="nvidia.com/gpu")
    launcher = Launcher(cluster, cluster.namespace(restricted=True))
    offers = launcher("gpus", "-o", "json").json()
    assert [(one["gpu"], one["units"], one["free"], one["blocked"]) for one in offers] == [("t4", 1, 1, "")]
    submit(launcher, "--gpu", "t4")
    pod = cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace)
    assert pod.spec.node_name == "by-dra"


def test_without_one_it_is_told_and_sent_only_by_force(driver: Driver, cluster: Cluster) -> None:
    driver.has_class()
    launcher = Launcher(cluster, cluster.namespace(restricted=True))
    said = launcher("launch", *BARE, "--gpu", "t4", "--detach")
    assert said.code == 15 and "Node by-dra has t4, but serves it by DRA" in said.err, said.err
    assert "extendedResourceName: nvidia.com/gpu" in said.err and "slice" not in said.err
    assert launcher("gpus", "-o", "json").json()[0]["blocked"] == "served by DRA only"
    name = submit(launcher, "--gpu", "t4", "--force")

    def waits() -> bool:
        return "Insufficient nvidia.com/gpu" in launcher("status", name).err

    eventually(waits, "the scheduler's word")
