"""A command in a pod, spoken to through the API server (exec): nothing listens in the pod, and no network policy or
security group has to let anybody in.

One websocket carries numbered channels, one byte at the front of each message. The WSClient of kubernetes.stream is not
used: it collects all that has arrived before it returns any of it, which of a large file is the whole file.
"""

import json
from collections.abc import Iterator, Sequence

from k8s.cluster.client import Cluster
from k8s.cluster.client_errors import translated_websocket
from k8s.errors import ClusterUnreachable, LauncherError, SettingsInvalid

STDIN, STDOUT, STDERR, STATUS = range(4)


class Exec:
    """A command that runs in a container of a pod. Every method raises ClusterUnreachable if the connection
    breaks off, and SettingsInvalid if the command ends."""

    def __init__(self, cluster: Cluster, pod: str, container: str, command: Sequence[str]) -> None:
        """Starts it. Raises also the errors of the API."""
        self._server, self._pod = cluster.server, pod
        self._path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/exec"
        asked = [("container", container), *(("command", one) for one in command)]
        asked += [(stream, "true") for stream in ("stdin", "stdout", "stderr")]
        self._socket = cluster.websocket(self._path, asked)
        self._out = self._err = b""

    def write(self, data: bytes) -> None:
        with translated_websocket(self._server, self._path):
            self._socket.send_binary(bytes([STDIN]) + data)

    def line(self) -> bytes:
        """The next line of its output, without its end."""
        while b"\n" not in self._out:
            self._out += self._received()
        found, _, self._out = self._out.partition(b"\n")
        return found

    def blocks(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes of its output, as they come."""
        while size:
            block = self._out or self._received()
            block, self._out = block[:size], block[size:]
            size -= len(block)
            yield block

    def close(self) -> None:
        """Ends the connection, and with it the command's stdin."""
        self._socket.shutdown()

    def _received(self) -> bytes:
        """What comes next on stdout."""
        from websocket import ABNF

        while True:
            with translated_websocket(self._server, self._path):
                kind, frame = self._socket.recv_data_frame(control_frame=True)
            if kind == ABNF.OPCODE_CLOSE:
                raise self._broken("it was closed")
            if kind not in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) or not frame.data:
                continue
            channel, data = frame.data[0], bytes(frame.data[1:])
            if channel == STDOUT and data:
                return data
            if channel == STDERR:
                self._err = (self._err + data)[-2000:]
            elif channel == STATUS:
                raise self._ended(data)

    def _ended(self, status: bytes) -> LauncherError:
        """The error for the end of a command, from its metav1.Status and its last words."""
        found = json.loads(status)
        if found.get("reason") != "NonZeroExitCode":
            return self._broken(str(found.get("message") or "its command has ended"))
        said = self._err.decode(errors="replace").strip().rpartition("\n")[2]
        return SettingsInvalid(
            f"the command in pod {self._pod} has failed: {(said or found['message'])[:300]}",
            hint="The run's own image has what it needs; --image names another one.",
        )

    def _broken(self, why: str) -> ClusterUnreachable:
        return ClusterUnreachable(
            f"the connection through {self._server} to pod {self._pod} broke off: {why[:300]}",
            hint="Repeat the command: it continues with what is here.",
        )
