"""Reads a run store on a volume through a short-lived pod: a web server, reached through the API server.

It has the run's own image and Pod Security `restricted`, mounts the claim read-only, and is deleted at the end.
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from job.artifacts import Artifact, check_name
from job.store.base import receive_file
from k8s.cluster.client import Cluster
from k8s.cluster.waiting import waiting_for_pod
from k8s.errors import ObjectNotFound, WaitedTooLong
from k8s.manifest.base import BASE, STORE

PORT = 8000
PASSWORD, HASH = "X-Finetune-Run-Password", "PASSWORD_SHA256"
_SERVE = f"""
import hashlib, hmac, http.server as http, os
class Reader(http.SimpleHTTPRequestHandler):
    def guess_type(self, path):
        return "application/octet-stream"
    def parse_request(self):
        if not super().parse_request():
            return False
        given = hashlib.sha256(self.headers.get("{PASSWORD}", "").encode()).hexdigest()
        if hmac.compare_digest(given, os.environ["{HASH}"]):
            return True
        self.send_error(403)
        return False
http.ThreadingHTTPServer(("", {PORT}), Reader).serve_forever()
"""
"""A web server that sends every file as bytes (the API server's proxy changes links in HTML), to whoever has the
password: every pod of the cluster can connect to it. The password is random, new for each pod and only in this process;
the pod has its hash. It is a header of its own, because the API server's proxy drops Authorization."""
START_S = 600.0
_BLOCK = 1 << 20


class PodStore:
    """The two operations of a run store that reading needs."""

    def __init__(self, cluster: Cluster, pod: str, password: str) -> None:
        self._cluster, self.url = cluster, f"the volume in pod {pod}"
        self._headers = {PASSWORD: password}
        self._path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:{PORT}/proxy"

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            return b"".join(self._cluster.blocks(self._where(key), _BLOCK, self._headers)), ""
        except ObjectNotFound:
            return None

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Any = None) -> None:
        """Downloads a file, complete and verified. Raises IntegrityViolated, StorageFailed, ObjectNotFound."""

        def blocks_from(start: int) -> Iterator[bytes]:
            for block in self._cluster.blocks(self._where(key), _BLOCK, self._headers):
                if start < len(block):
                    yield block[start:]
                start = max(0, start - len(block))

        receive_file(blocks_from, path, expected, progress)

    def _where(self, key: str) -> str:
        return f"{self._path}/{quote(check_name(key))}"


@contextmanager
def reader(
    cluster: Cluster, claim: str, image: str, user: int | None = 10001, like: Mapping[str, Any] = {}
) -> Iterator[PodStore]:
    """The store on a claim, for as long as the block lasts. Raises WaitedTooLong if the pod does not start.

    `like`: the run's own pod, whose tolerations and node selection are reused: the volume may be on a tainted node.
    """
    name = f"finetune-run-reader-{secrets.token_hex(3)}"
    pods = f"/api/v1/namespaces/{cluster.namespace}/pods"
    password = secrets.token_urlsafe(32)
    pod = _pod(name, claim, image, user, password)
    pod["spec"] |= {key: like[key] for key in ("tolerations", "imagePullSecrets") if key in like}
    cluster.call("POST", pods, pod)
    try:
        _wait_ready(cluster, f"{pods}/{name}")
        yield PodStore(cluster, name, password)
    finally:
        cluster.call("DELETE", f"{pods}/{name}", gracePeriodSeconds=0)


def _wait_ready(cluster: Cluster, path: str) -> None:
    until = time.monotonic() + START_S
    while True:
        pod = cluster.call("GET", path)
        if any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions") or ()):
            return
        if time.monotonic() > until:
            why = "; ".join(waiting_for_pod(pod, cluster.events(pod["metadata"]["uid"])))
            raise WaitedTooLong(f"the reader pod does not start: {why}")
        time.sleep(1)


def _pod(name: str, claim: str, image: str, user: int | None, password: str) -> dict[str, Any]:
    ids = {"runAsUser": user, "runAsGroup": user, "fsGroup": user} if user else {}
    container = {
        "name": "reader",
        "image": image,
        "command": ["python", "-I", "-c", _SERVE],  # -I: it imports nothing from the volume
        "env": [{"name": HASH, "value": hashlib.sha256(password.encode()).hexdigest()}],
        "workingDir": STORE,
        "securityContext": BASE["container"]["securityContext"],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [{"name": "store", "mountPath": STORE, "readOnly": True}],
    }
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "activeDeadlineSeconds": 24 * 3600,
        "securityContext": BASE["pod"]["securityContext"] | ids,
        "containers": [container],
        "volumes": [volume],
    }
    labels = {"app.kubernetes.io/name": "finetune-run", "app.kubernetes.io/component": "reader"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
