"""Nodes without a machine, and what a kubelet would write: heartbeats, and how pods go on."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

BEAT_S = 1.5
ROOM = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "500Gi", "pods": "110"}
MACHINE = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
"""Labels that every kubelet writes."""
Object = dict[str, Any]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Nodes:
    """The nodes of one control plane. `stop` ends their heartbeats."""

    def __init__(self, api: client.ApiClient, kubelet_port: int) -> None:
        self._port = kubelet_port
        self._core, self._leases = client.CoreV1Api(api), client.CoordinationV1Api(api)
        self._names: set[str] = set()
        self._silent: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def add(
        self,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        taints: list[str] | None = None,
        gpus: dict[str, int] | int = 0,
        provider: str = "",
        room: dict[str, str] | None = None,
    ) -> None:
        """A ready node. `taints`: `key=value:effect`; `gpus`: whole cards, or units by resource."""
        has = ROOM | (room or {})
        counts = {"nvidia.com/gpu": gpus} if isinstance(gpus, int) else gpus
        has |= {resource: str(count) for resource, count in counts.items() if count}
        spec: Object = {"taints": [_taint(text) for text in taints or []]} | (
            {"providerID": provider} if provider else {}
        )
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name} | MACHINE | (labels or {})}
        status = {"capacity": has, "allocatable": has, "conditions": [_ready()]}
        status["addresses"] = [{"type": "InternalIP", "address": "127.0.0.1"}]
        status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self._port}}
        # With its status, as a kubelet registers: without one the scheduler would see a node that lacks everything.
        self._core.create_node({"metadata": metadata, "spec": spec, "status": status})
        self._lease(name, create=True)
        self._names.add(name)
        self._until(lambda: not self._tainted_by_controller(name), f"node {name} is not ready")

    def remove_all(self) -> None:
        for name in list(self._names):
            self.remove(name)

    def remove(self, name: str) -> None:
        """As a cloud does with the node of a machine that is gone."""
        self._names.discard(name)
        self._silent.discard(name)
        self._core.delete_node(name)
        self._leases.delete_namespaced_lease(name, "kube-node-lease")

    def fall_silent(self, name: str) -> None:
        """No more heartbeats, as of a machine that was switched off."""
        self._silent.add(name)

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _tainted_by_controller(self, name: str) -> bool:
        taints = self._core.read_node(name).spec.taints or []
        return any(taint.key.startswith("node.kubernetes.io/") for taint in taints)

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_S):
            for name in self._names - self._silent:
                # Removed meanwhile, or a busy server: a beat is missed, and the next one may come through.
                with suppress(ApiException, HTTPError):
                    self._lease(name)

    def _lease(self, name: str, *, create: bool = False) -> None:
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": datetime.now(UTC).replace(microsecond=1),
        }
        body = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec}
        if create:
            self._leases.create_namespaced_lease("kube-node-lease", body)
        else:
            self._leases.patch_namespaced_lease(name, "kube-node-lease", body)

    def _until(self, holds: Any, what: str) -> None:
        until = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < until, what
            time.sleep(0.1)


def _taint(text: str) -> Object:
    pair, _, effect = text.partition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect or "NoSchedule"}


def _ready() -> Object:
    times = {"lastHeartbeatTime": now(), "lastTransitionTime": now()}
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"} | times


def run_pod(core: client.CoreV1Api, name: str, namespace: str) -> None:
    """The pod's container runs."""
    spec = core.read_namespaced_pod(name, namespace).spec
    state = {"running": {"startedAt": now()}}
    _write(core, name, namespace, "Running", [_container(one.name, state, ready=True) for one in spec.containers])


def end_pod(
    core: client.CoreV1Api,
    name: str,
    namespace: str,
    code: int,
    *,
    message: str = "",
    reason: str = "",
    evicted: str = "",
) -> None:
    """The pod's container has ended with `code`. `reason`: e.g. OOMKilled; `evicted`: why a disruption ended it."""
    spec = core.read_namespaced_pod(name, namespace).spec
    ended = {"exitCode": code, "finishedAt": now(), "startedAt": now(), "message": message}
    ended["reason"] = reason or ("Completed" if code == 0 else "Error")
    states = [_container(one.name, {"terminated": ended}) for one in spec.containers]
    disrupted = {"type": "DisruptionTarget", "status": "True", "reason": evicted, "lastTransitionTime": now()}
    _write(core, name, namespace, "Failed" if code else "Succeeded", states, [disrupted] if evicted else [])


def _container(name: str, state: Object, *, ready: bool = False) -> Object:
    return {"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state}


def _write(
    core: client.CoreV1Api,
    name: str,
    namespace: str,
    phase: str,
    states: list[Object],
    more: list[Object] = [],  # noqa: B006
) -> None:
    status = {"phase": phase, "containerStatuses": states, "conditions": more, "startTime": now()}
    core.patch_namespaced_pod_status(name, namespace, {"status": status})
