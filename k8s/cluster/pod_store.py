"""A run store on a volume: commands in a pod that mounts it send and receive files through the API server."""

import io
import json
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
from k8s.cluster.pod_programs import RECEIVE, SEND
from k8s.cluster.volume_pod import CONTAINER, start_pod, volume_pod
from k8s.errors import ClusterUnreachable, ObjectNotFound
from k8s.manifest.base import STORE
from k8s.placement.place import about_gpus

_BLOCK = 1 << 20
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
            taker = self._taking or self._command(RECEIVE)
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
        sender = self._idle or self._command(SEND)
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
    pod = volume_pod(claim, image, user, writable)
    pod["spec"] |= {key: like[key] for key in ("imagePullSecrets",) if key in like}
    every = like.get("tolerations", [])
    few = [one for one in every if not about_gpus(one.get("key", ""), one.get("value"))]
    with start_pod(cluster, pod, few, every if every != few else None, on_wait) as name:
        found = PodStore(cluster, name)
        try:
            yield found
        finally:
            found.close()
