"""A volume claim whose volume is a folder here, and the launcher's pods that mount it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import Launcher


@contextmanager
def volume(cluster: Cluster, folder: Path) -> Iterator[Launcher]:
    """A launcher in a namespace that admits nothing but restricted pods, with the claim `runs`."""
    cluster.nodes.add("plain")
    found = Launcher(cluster, cluster.namespace(restricted=True))
    found.claims()
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}
    spec |= {"claimRef": {"namespace": found.namespace, "name": "runs"}, "storageClassName": ""}
    name = f"runs-{found.namespace}"
    cluster.core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})
    cluster.kubelet.mounted["/store"] = folder
    yield found
    cluster.kubelet.mounted.clear()
    cluster.kubelet.cut_exec_after.clear()
    cluster.core.delete_persistent_volume(name)


@contextmanager
def started(launcher: Launcher, role: str, seen: dict[str, Any] | None = None) -> Iterator[None]:
    """The container of the pod that reads or writes the volume is started meanwhile. `role`: reader or writer; `seen`:
    the pod's node and what it tolerates."""
    over = threading.Event()

    def found() -> Any:
        pods = launcher.cluster.pods(launcher.namespace)
        there = [one for one in pods if f"-{role}-" in one.metadata.name and one.spec.node_name]
        return over.is_set() or next(iter(there), None)

    def start() -> None:
        pod = eventually(found, f"the {role}", timeout_s=120)
        if pod is not True:
            if seen is not None:
                seen.update(node=pod.spec.node_name, tolerated=[one.key for one in pod.spec.tolerations])
            body = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            launcher.cluster.core.patch_namespaced_pod_status(pod.metadata.name, launcher.namespace, body)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
