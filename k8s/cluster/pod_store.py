"""A run store on a volume, through a short-lived pod in which commands send and receive files through the API server.

It has the run's own image and Pod Security `restricted`, mounts the claim (read-only, unless files are put there),
listens on no port, and is deleted at the end.
"""

import io
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from job import strict_json
from job.artifacts import Artifact, check_name
from job.errors import IntegrityViolated, StorageFailed
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
_RECEIVE = """
import fcntl, hashlib, json, os, secrets, sys, time
root = os.path.realpath(sys.argv[1])
def say(**values):
    print(json.dumps(values), flush=True)
def digest(path):
    whole, said = hashlib.sha256(), time.monotonic()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
            if time.monotonic() - said > 5:
                say(busy=True)
                said = time.monotonic()
    return whole.hexdigest()
def part_of(folder, name, sha256):
    file = open(os.path.join(folder, f".{name}.{sha256[:16]}.tmp"), "a+b")
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(file.name) and os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
            file = open(file.name, "a+b")
        except BlockingIOError:
            say(busy=True)
            time.sleep(0.5)
        except OSError:
            break
    return open(os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp"), "a+b")
def receive(path, sha256, size):
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    if os.path.isfile(path) and os.path.getsize(path) == size and digest(path) == sha256:
        return say(there=True)
    with part_of(folder, name, sha256) as file:
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        start, space = file.seek(0, os.SEEK_END), os.statvfs(folder)
        free = space.f_bavail * space.f_frsize
        if size - start > free:
            return say(error=f"{size - start} bytes do not fit into the {free} that are free")
        say(start=start)
        left = size - start
        while left:
            block = sys.stdin.buffer.read1(min(left, 1 << 20)) or sys.exit()
            file.write(block)
            left -= len(block)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if digest(file.name) != sha256:
            os.unlink(file.name)
            return say(damaged=True)
        os.replace(file.name, path)
        at = os.open(folder, os.O_RDONLY)
        os.fsync(at)
        os.close(at)
        say(done=True)
for line in sys.stdin.buffer:
    key, sha256, size = json.loads(line)
    path = os.path.realpath(os.path.join(root, key))
    try:
        receive(path, sha256, size) if path.startswith(root + os.sep) else say(error="it leads out of the volume")
    except OSError as error:
        say(error=error.strerror)
"""
"""What the pod runs to receive files. For a line `[key, sha256, size]` it says `there`, or from where on it takes the
file's bytes (`start`: what an earlier call has brought), and after them `done` or `damaged`; else `error`, and in
between `busy`. A file is visible when it is whole; two that send the same do not write to one part."""
_BLOCK = 1 << 20
SMALL = {"memory": "256Mi", "ephemeral-storage": "256Mi"}
ROLE = "app.kubernetes.io/component"
CONTAINER = "reader"
"""Named in each command, since a service mesh may add a container of its own."""
START_S, TELL_S = 600.0, 3.0
"""Seconds that the pod may take to start, and after which it is told what it waits for."""
PATIENCE_S, PAUSE_S = 120.0, 2.0
"""Seconds without a byte, after which a connection that breaks off is not opened again; and between two attempts."""


class _BrokeOff(Exception):
    """A connection ended early, after so many bytes of a file."""

    def __init__(self, error: ClusterUnreachable, at: int) -> None:
        super().__init__(str(error))
        self.error, self.at = error, at


class NoFile(ObjectNotFound):
    """A file is not on the volume."""


class PodStore:
    """The operations of a run store that results and inputs need. A connection that breaks off is opened again, and a
    file continued where it stopped."""

    def __init__(self, cluster: Cluster, pod: str) -> None:
        self._cluster, self._pod, self.url = cluster, pod, f"the volume in pod {pod}"
        self._idle: Exec | None = None
        self._taking: Exec | None = None

    def get(self, key: str) -> tuple[bytes, str] | None:
        try:
            return b"".join(self._blocks(key, 0)), ""
        except NoFile:
            return None

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Any = None) -> None:
        """Downloads a file, complete and verified; continues where an earlier call was cut off. Raises
        IntegrityViolated, StorageFailed, ObjectNotFound."""
        receive_file(lambda start: self._blocks(key, start), path, expected, progress)

    def put_file(self, file: Artifact, content: Path | bytes, progress: Any = None) -> bool:
        """Puts a file on the volume, whole and verified; continues where an earlier call was cut off. Returns whether
        it was there already. `file.path`: its key. Raises IntegrityViolated if it changes meanwhile, StorageFailed."""
        last, damaged, furthest = time.monotonic(), False, -1
        while True:
            try:
                with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as source:
                    said = self._put(file, source, progress)
                if not said.get("damaged"):
                    return bool(said.get("there"))
                if damaged:
                    raise IntegrityViolated(f"{file.path} is not what was hashed before", hint="Do not change it now.")
                damaged = True
            except _BrokeOff as broken:
                if broken.at > furthest:
                    furthest, last = broken.at, time.monotonic()
                if time.monotonic() - last > PATIENCE_S:
                    raise ClusterUnreachable(broken.error.message, hint=broken.error.hint) from broken.error
                time.sleep(PAUSE_S)

    def close(self) -> None:
        for command in (self._idle, self._taking):
            if command:
                command.close()

    def _put(self, file: Artifact, source: IO[bytes], progress: Any) -> dict[str, Any]:
        """What the pod says at the end. Raises _BrokeOff, StorageFailed."""
        at = -1
        try:
            taker = self._taking or self._command(_RECEIVE)
            self._taking = None
            try:
                taker.write(strict_json.dumps([check_name(file.path), file.sha256, file.size]).encode() + b"\n")
                said = self._answer(taker, file)
                if "start" in said:
                    at = source.seek(said["start"])
                    for block in iter(lambda: source.read(_BLOCK), b""):
                        taker.write(block)
                        at += len(block)
                        if progress:
                            progress(at)
                    said = self._answer(taker, file)
                self._taking = taker
            finally:
                if not self._taking:
                    taker.close()
        except ClusterUnreachable as error:
            raise _BrokeOff(error, at) from error
        return said

    def _answer(self, taker: Exec, file: Artifact) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(taker.line())
        while "busy" in said:
            said = json.loads(taker.line())
        if "error" in said:
            raise StorageFailed(
                f"{file.path} cannot be put on {self.url}: {said['error']}", hint="Free space there, or enlarge it."
            )
        return said

    def _command(self, program: str) -> Exec:
        # -I: it imports nothing from the volume.
        return Exec(self._cluster, self._pod, CONTAINER, ("python", "-I", "-c", program, STORE))

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
        sender = self._idle or self._command(_SEND)
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
def pod_store(
    cluster: Cluster,
    claim: str,
    image: str,
    user: int | None = 10001,
    like: Mapping[str, Any] = {},
    *,
    writable: bool = False,
    on_wait: Callable[[str], None] = lambda _: None,
) -> Iterator[PodStore]:
    """The store on a claim, for as long as the block lasts. Raises WaitedTooLong if the pod does not start; `on_wait`
    is told what it waits for, each reason once.

    `like`: the run's own pod, whose pull secrets and tolerations are reused: those for GPU nodes only if the volume is
    on one, since GKE Autopilot refuses them of a pod that asks for no GPU (autogke-gpu-limitation).
    """
    pod = _pod(claim, image, user, writable)
    pod["spec"] |= {key: like[key] for key in ("imagePullSecrets",) if key in like}
    every = like.get("tolerations", [])
    few = [one for one in every if not about_gpus(one.get("key", ""), one.get("value"))]
    with _started(cluster, pod, few, every if every != few else None, on_wait) as name:
        found = PodStore(cluster, name)
        try:
            yield found
        finally:
            found.close()


@contextmanager
def _started(
    cluster: Cluster,
    pod: dict[str, Any],
    tolerations: list[Any],
    more: list[Any] | None,
    on_wait: Callable[[str], None],
) -> Iterator[str]:
    """The pod's name, once it runs. `more`: the tolerations to try if taints keep it off every node."""
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
        with _started(cluster, pod, more, None, on_wait) as name:
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


def _pod(claim: str, image: str, user: int | None, writable: bool = False) -> dict[str, Any]:
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
