"""The control plane, one for each test process, and a fresh namespace for each test."""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config

from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet import Kubelet
from tests.cluster.nodes import Nodes

_numbers = itertools.count(1)


class Cluster:
    """What a test sees of it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.api = config.new_client_from_config(str(plane.admin))
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)
        self._namespaces: list[str] = []
        self.kubelet = Kubelet(plane.pki, self.core)
        self.nodes = Nodes(self.api, self.kubelet.port)

    def namespace(self, *, restricted: bool = False) -> str:
        """A new one. `restricted`: it enforces that Pod Security profile."""
        name = f"test-{next(_numbers)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
        self.core.create_namespace({"metadata": {"name": name, "labels": labels}})
        self._namespaces.append(name)
        eventually(lambda: self.core.list_namespaced_service_account(name).items, "a service account")
        return name

    def clear(self) -> None:
        """Neither Jobs nor pods nor nodes are left: a pod would go on to hold what a node of the same name has."""
        for name in self._namespaces:
            self.core.delete_namespace(name)  # from now on no controller makes a pod there
            self.batch.delete_collection_namespaced_job(name, propagation_policy="Background")
            self.core.delete_collection_namespaced_pod(name, grace_period_seconds=0)
        for name in self._namespaces:
            eventually(lambda name=name: not self.core.list_namespaced_pod(name).items, "the pods to go")
        self._namespaces.clear()
        self.nodes.remove_all()

    def pods(self, namespace: str, phase: str | None = None) -> list[Any]:
        """By age; of one phase, and not being deleted."""
        found = [one for one in self.core.list_namespaced_pod(namespace).items if not one.metadata.deletion_timestamp]
        found.sort(key=lambda one: one.metadata.creation_timestamp)
        return [one for one in found if phase is None or one.status.phase == phase]

    def pod(self, namespace: str, phase: str | None = None) -> Any:
        """The one pod, as soon as it is there."""
        return eventually(lambda: next(iter(self.pods(namespace, phase)), None), f"a pod ({phase or 'any phase'})")

    def condition(self, namespace: str, job: str, kind: str) -> Any:
        """The Job's condition, as soon as it is true."""

        def found() -> Any:
            conditions = self.batch.read_namespaced_job(job, namespace).status.conditions or []
            return next((one for one in conditions if one.type == kind and one.status == "True"), None)

        return eventually(found, f"{job} to be {kind}")


def eventually(found: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """The first value that is something. Raises AssertionError after a while."""
    until = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < until, f"waited {timeout_s} s for {what}"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        yield plane.start()
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def shared_cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    cluster = Cluster(control_plane)
    yield cluster
    cluster.nodes.stop()
    cluster.kubelet.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """With no node and no pod in the beginning."""
    shared_cluster.plane.check()
    yield shared_cluster
    shared_cluster.clear()
