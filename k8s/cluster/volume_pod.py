"""The short-lived pod that mounts a volume: started, waited for, and deleted at the end.

It has the run's own image and Pod Security `restricted`, mounts the claim (read-only, unless files are put there), and
listens on no port.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from k8s.cluster.client import Cluster
from k8s.cluster.waiting import kept_off_by_taints, waiting_for_pod
from k8s.errors import WaitedTooLong
from k8s.manifest.base import BASE, STORE

SMALL = {"memory": "256Mi", "ephemeral-storage": "256Mi"}
ROLE = "app.kubernetes.io/component"
CONTAINER = "reader"
"""Named in each command, since a service mesh may add a container of its own."""
START_S, TELL_S = 600.0, 3.0
"""Seconds that the pod may take to start, and after which it is told what it waits for."""


@contextmanager
def start_pod(
    cluster: Cluster,
    pod: dict[str, Any],
    tolerations: list[Any],
    more: list[Any] | None,
    on_wait: Callable[[str], None],
) -> Iterator[str]:
    """Runs the pod for as long as the block lasts; gives its name once it is ready. `more`: the tolerations to try if
    taints keep it off every node."""
    name = f"finetune-run-{pod['metadata']['labels'][ROLE]}-{secrets.token_hex(3)}"
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    spec = pod["spec"] | {"tolerations": tolerations}
    cluster.call("POST", pods, pod | {"metadata": pod["metadata"] | {"name": name}, "spec": spec})
    try:
        ready = _wait_ready(cluster, f"{pods}/{name}", or_taints=more is not None, on_wait=on_wait)
        if ready:
            yield name
    finally:
        cluster.call("DELETE", f"{pods}/{name}", gracePeriodSeconds=0)
    if not ready and more:
        with start_pod(cluster, pod, more, None, on_wait) as name:
            yield name


def _wait_ready(cluster: Cluster, path: str, *, or_taints: bool, on_wait: Callable[[str], None]) -> bool:
    """Whether it is ready; with `or_taints`, False if taints keep it off every node. Raises WaitedTooLong."""
    began, told = time.monotonic(), ""
    while True:
        pod = cluster.call("GET", path)
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ()):
            return True
        if or_taints and kept_off_by_taints(pod):
            return False
        if (waited := time.monotonic() - began) > TELL_S:
            why = "; ".join(waiting_for_pod(pod, cluster.events(pod["metadata"]["uid"])))
            if waited > START_S:
                raise WaitedTooLong(f"the pod for the volume does not start: {why}")
            if why != told:
                on_wait(why)
                told = why
        time.sleep(1)


def volume_pod(claim: str, image: str, user: int | None, writable: bool = False) -> dict[str, Any]:
    """The pod to create, without a name. `user`: its numeric user and group, or None to leave these to the cluster."""
    ids = {"runAsUser": user, "runAsGroup": user, "fsGroup": user} if user else {}
    container = {
        "name": CONTAINER,
        "image": image,
        "command": ["sleep", "infinity"],
        "securityContext": BASE["container"]["securityContext"],
        "resources": {"requests": {"cpu": "100m"} | SMALL, "limits": {"cpu": "1"} | SMALL},
        "volumeMounts": [{"name": "store", "mountPath": STORE, "readOnly": not writable}],
    }
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": not writable}}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "nodeSelector": BASE["pod"]["nodeSelector"],
        "activeDeadlineSeconds": 24 * 3600,
        "securityContext": BASE["pod"]["securityContext"] | ids,
        "containers": [container],
        "volumes": [volume],
    }
    labels = {"app.kubernetes.io/name": "finetune-run", ROLE: "writer" if writable else "reader"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels}, "spec": spec}
