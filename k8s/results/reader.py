"""Reads a run store on a volume through a short-lived pod, in which a command sends files through the API server.

It has the run's own image and Pod Security `restricted`, mounts the claim read-only, listens on no port, and is deleted
at the end.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job import strict_json
from job.artifacts import Artifact, check_name
from job.store.base import receive_file
from k8s.cluster.client import Cluster
from k8s.cluster.exec import Exec
from k8s.cluster.waiting import kept_off_by_taints, waiting_for_pod
from k8s.errors import ClusterUnreachable, ObjectNotFound, WaitedTooLong
from k8s.manifest.base import BASE, STORE
from k8s.placement.place import about_gpus

_SEND = """
import json, os, sys
root, out = os.path.realpath(sys.argv[1]), sys.stdout.buffer
for line in sys.stdin.buffer:
    key, start = json.loads(line)
    path = os.path.realpath(os.path.join(root, key))
    try:
        if not path.startswith(root + os.sep):
            raise FileNotFoundError(path)
        file = open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        out.write(b"null\\n")
    else:
        with file:
            left = max(0, file.seek(0, os.SEEK_END) - start)
            out.write(b"%d\\n" % left)
            file.seek(start)
            while left:
                block = file.read(min(left, 1 << 20))
                left -= out.write(block) or sys.exit(f"{path} has become shorter")
    out.flush()
"""
"""What the pod runs for each connection. For a line `[key, start]` it sends the number of bytes from there to the end
of the file, and these bytes; `null` if there is no such file, or a link leads out of the volume. It goes on until its
stdin ends: of a command that ends by itself, a node may drop the last bytes (kubernetes/kubectl#1361)."""
_COMMAND = ("python", "-I", "-c", _SEND, STORE)
"""-I: it imports nothing from the volume."""
SMALL = {"memory": "256Mi", "ephemeral-storage": "256Mi"}
CONTAINER = "reader"
"""Named in each command, since a service mesh may add a container of its own."""
START_S = 600.0
PATIENCE_S, PAUSE_S = 120.0, 2.0
"""Seconds without a byte, after which a connection that breaks off is not opened again; and between two attempts."""


class NoFile(ObjectNotFound):
    """A file is not on the volume."""


class PodStore:
    """The two operations of a run store that reading needs. A connection that breaks off is opened again, and a file
    continued where it stopped."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster, self._pod, self.url = cluster, pod, f"the volume in pod {pod}"
        self._idle: Exec | None = None

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            return b"".join(self._blocks(key, 0)), ""
        except NoFile:
            return None

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Any = None) -> None:
        """Downloads a file, complete and verified; continues where an earlier call was cut off. Raises
        IntegrityViolated, StorageFailed, ObjectNotFound."""
        receive_file(lambda start: self._blocks(key, start), path, expected, progress)

    def close(self) -> None:
        if self._idle:
            self._idle.close()

    def _blocks(self, key: str, start: int) -> Iterator[bytes]:
        last = time.monotonic()
        while True:
            try:
                for block in self._sent(check_name(key), start):
                    yield block
                    start, last = start + len(block), time.monotonic()
                return
            except ClusterUnreachable:
                if time.monotonic() - last > PATIENCE_S:
                    raise
                time.sleep(PAUSE_S)

    def _sent(self, key: str, start: int) -> Iterator[bytes]:
        """What one connection brings of a file. It is used again only if all was read."""
        sender = self._idle or Exec(self._cluster, self._pod, CONTAINER, _COMMAND)
        self._idle = None
        try:
            sender.write(strict_json.dumps([key, start]).encode() + b"\n")
            left = json.loads(sender.line())
            if left is not None:
                yield from sender.blocks(left)
            self._idle = sender
        finally:
            if not self._idle:
                sender.close()
        if left is None:
            raise NoFile(f"there is no {key} in {self.url}")


@contextmanager
def reader(
    cluster: Cluster, claim: str, image: str, user: int | None = 10001, like: Mapping[str, Any] = {}
) -> Iterator[PodStore]:
    """The store on a claim, for as long as the block lasts. Raises WaitedTooLong if the pod does not start.

    `like`: the run's own pod, whose pull secrets and tolerations are reused: those for GPU nodes only if the volume is
    on one, since GKE Autopilot refuses them of a pod that asks for no GPU (autogke-gpu-limitation).
    """
    pod = _pod(claim, image, user)
    pod["spec"] |= {key: like[key] for key in ("imagePullSecrets",) if key in like}
    every = like.get("tolerations", [])
    few = [one for one in every if not about_gpus(one.get("key", ""), one.get("value"))]
    with _started(cluster, pod, few, every if every != few else None) as name:
        found = PodStore(cluster, name)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def _started(cluster: Cluster, pod: dict[str, Any], tolerations: list[Any], more: list[Any] | None) -> Iterator[str]:
    """The pod's name, once it runs. `more`: the tolerations to try if taints keep it off every node."""
    name = f"finetune-run-reader-{secrets.token_hex(3)}"
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    spec = pod["spec"] | {"tolerations": tolerations}
    cluster.call("POST", pods, pod | {"metadata": pod["metadata"] | {"name": name}, "spec": spec})
    try:
        ready = _wait_ready(cluster, f"{pods}/{name}", or_taints=more is not None)
        if ready:
            yield name
    finally:
        cluster.call("DELETE", f"{pods}/{name}", gracePeriodSeconds=0)
    if not ready and more:
        with _started(cluster, pod, more, None) as name:
            yield name


def _wait_ready(cluster: Cluster, path: str, *, or_taints: bool) -> bool:
    """Whether it is ready; with `or_taints`, False if taints keep it off every node. Raises WaitedTooLong."""
    until = time.monotonic() + START_S
    while True:
        pod = cluster.call("GET", path)
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ()):
            return True
        if or_taints and kept_off_by_taints(pod):
            return False
        if time.monotonic() > until:
            why = "; ".join(waiting_for_pod(pod, cluster.events(pod["metadata"]["uid"])))
            raise WaitedTooLong(f"the reader pod does not start: {why}")
        time.sleep(1)


def _pod(claim: str, image: str, user: int | None) -> dict[str, Any]:
    ids = {"runAsUser": user, "runAsGroup": user, "fsGroup": user} if user else {}
    container = {
        "name": CONTAINER,
        "image": image,
        "command": ["sleep", "infinity"],
        "securityContext": BASE["container"]["securityContext"],
        "resources": {"requests": {"cpu": "100m"} | SMALL, "limits": {"cpu": "1"} | SMALL},
        "volumeMounts": [{"name": "store", "mountPath": STORE, "readOnly": True}],
    }
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "nodeSelector": BASE["pod"]["nodeSelector"],
        "activeDeadlineSeconds": 24 * 3600,
        "securityContext": BASE["pod"]["securityContext"] | ids,
        "containers": [container],
        "volumes": [volume],
    }
    labels = {"app.kubernetes.io/name": "finetune-run", "app.kubernetes.io/component": "reader"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels}, "spec": spec}
