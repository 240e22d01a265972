"""A llama-server for as long as somebody asks it.

It listens on a socket in a folder that only this user can open, so that no port is used, and still asks for a key,
which is in its environment and on no command line. It has no web page, no tools and no network. It ends with the block,
and with this process however that ends.
"""

import http.client
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from job import node, strict_json
from job.errors import EnvironmentUnfit, IntegrityViolated, JobError
from job.library_warnings import tell_llama
from job.llama_cpp import bundle, offload, process
from job.redaction import redact

NAME = "llama-server"
TIMEOUT_S = 24 * 3600.0
"""An answer takes as long as it takes; this ends a server that hangs."""
_SOCKET_LIMIT = 107  # bytes of a path, sockaddr_un
_POLL_S, _END_S = 0.1, 5.0
_KEPT_LINES = 2000


class Server:
    """One that has loaded its model."""

    def __init__(self, gguf: Path, program: "subprocess.Popen[str]", address: Path, key: str) -> None:
        self.program, self.address, self.key = program, address, key
        self._gguf, self._group = gguf, process.group.get()
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._is_loaded = False
        # In this thread's context: what it logs belongs to the same stage.
        self._reader = threading.Thread(target=copy_context().run, args=(self._read,), daemon=True)
        self._reader.start()

    @contextmanager
    def ask(self, method: str, path: str, request: Any = None) -> Iterator[http.client.HTTPResponse]:
        """The reply, to be read in the block. Raises EnvironmentUnfit or IntegrityViolated if the server ends
        meanwhile."""
        try:
            with self._reply(method, path, request) as reply:
                yield reply
        except (OSError, http.client.HTTPException) as error:
            raise self._fault(error) from error

    def wait(self) -> None:
        """Until the model is loaded. Raises what `ask` does."""
        while self.program.poll() is None:
            with suppress(OSError, http.client.HTTPException), self._reply("GET", "/health", None) as reply:
                if reply.status == 200:
                    self._is_loaded = True
                    tell_llama(NAME, list(self._lines))  # not of a start that fails: its fault says why
                    return
            time.sleep(_POLL_S)
        raise self._fault(None)

    def end(self) -> None:
        self.program.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.program.wait(_END_S)
        self.program.kill()
        self.program.wait()
        self._reader.join()

    @contextmanager
    def _reply(self, method: str, path: str, request: Any) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self.address)
        try:
            body = None if request is None else strict_json.dumps(request).encode()
            head = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, body, head)
            yield connection.getresponse()
        finally:
            connection.close()

    def _read(self) -> None:
        """Reads what it says, to the end: a full pipe would stop it."""
        assert self.program.stdout
        with self.program.stdout as lines:
            for line in lines:
                self._lines.append(line.rstrip())
                if self._is_loaded:
                    tell_llama(NAME, [line.rstrip()])

    def _fault(self, error: Exception | None) -> JobError:
        """Why it does not answer. Raises Stopped if that is because the run ends."""
        self._group.check()
        try:
            status = self.program.wait(_END_S)
        except subprocess.TimeoutExpired:
            return EnvironmentUnfit(
                f"{NAME} does not answer with {self._gguf.name}: {error}", hint="Give the job more memory and CPU."
            )
        self._reader.join()
        how = f"was killed by signal {-status}" if status < 0 else f"exited {status}"
        said = redact("\n".join(list(self._lines)[-process.TAIL_LINES :]))
        failure = IntegrityViolated(f"{self._gguf.name}: {NAME} {how}\n{said}")
        return offload.unfit(f"{self._gguf.name} could not be run in {NAME}", list(self._lines), failure) or failure


@contextmanager
def serving(
    gguf: Path, rung: offload.Rung, *, context: int, slots: int, options: Sequence[str] = ()
) -> Iterator[Server]:
    """A server of a file. `context`: tokens of all `slots` together.

    Raises EnvironmentUnfit if this machine cannot run it (GpuFailed if another rung may), IntegrityViolated if
    llama.cpp cannot.
    """
    key = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        address = Path(folder) / "llama.sock"
        if len(os.fsencode(address)) > _SOCKET_LIMIT:
            raise EnvironmentUnfit(f"{address}: the path of a socket is too long", hint="Set TMPDIR to a shorter path.")
        command = [bundle.program(NAME), "-m", gguf, "--host", address, "-t", node.threads(), "-lv", "4"]
        command += ["-c", context, "-np", slots, "--offline", "--no-ui", "--no-slots", "--no-warmup"]
        start = partial(
            subprocess.Popen,
            [*map(str, command), *options, *rung.options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=offload.environment_of(NAME, rung) | {"LLAMA_API_KEY": key},
            start_new_session=True,  # Ctrl-C reaches this process alone
            preexec_fn=node.bound_to_parent(),
        )
        with process.group.get().member(start) as program:
            server = Server(gguf, program, address, key)
            try:
                server.wait()
                yield server
            finally:
                server.end()


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, address: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._address))
