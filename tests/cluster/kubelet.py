"""What the launcher's tests need of a kubelet beside heartbeats: logs, commands in a pod, the end of deleted pods.

The API server asks it for logs and for `exec` as it asks a real one, over TLS. A stream can be cut off, as API servers
and load balancers do.
"""

import select
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tests.cluster.commands import Commands


class Log:
    """What a container has written. `open`: more may come; `cut_after`: lines after which each stream breaks off."""

    def __init__(self) -> None:
        self.lines: list[tuple[datetime, str]] = []
        self.open = True
        self.cut_after: int | None = None
        self.changed = threading.Condition()

    def write(self, *texts: str) -> None:
        with self.changed:
            self.lines += [(datetime.now(UTC), text) for text in texts]
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.open = False
            self.changed.notify_all()


class Kubelet:
    """Serves the logs of every pod (`log(name)`), runs commands on this machine, and lets pods go that are being
    deleted. `mounted`: the folder here that stands for a path in pods; `cut_exec_after`: bytes of a command's output
    after which its connection breaks off, for each that is opened."""

    def __init__(self, pki: Path, core: client.CoreV1Api) -> None:
        self._core, self._logs = core, dict[str, Log]()
        self._commands: Commands | None = None
        self.mounted: dict[str, Path] = {}
        self.cut_exec_after: list[int] = []
        self.streams = 0
        kubelet = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path.startswith("/exec/"):
                    kubelet.run(self)
                else:
                    kubelet.serve(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._stopped = threading.Event()
        for work in (self._server.serve_forever, self._let_go):
            threading.Thread(target=work, daemon=True).start()

    def log(self, pod: str) -> Log:
        return self._logs.setdefault(pod, Log())

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        if self._commands:
            self._commands.stop()

    def run(self, request: BaseHTTPRequestHandler) -> None:
        """/exec/<namespace>/<pod>/<container>?command=…: handed on as it is, but for paths in the pod."""
        self._commands = self._commands or Commands()
        path = request.path
        for inside, here in self.mounted.items():
            path = path.replace(f"command={quote(inside, safe='')}&", f"command={quote(str(here), safe='')}&")
        head = f"{request.command} {path} HTTP/1.1\r\n{request.headers.as_string(maxheaderlen=0)}"
        request.close_connection = True
        with socket.create_connection(("127.0.0.1", self._commands.port)) as there:
            there.sendall(head.replace("\n", "\r\n").replace("\r\r\n", "\r\n").encode())
            _splice(request.connection, there, self.cut_exec_after.pop(0) if self.cut_exec_after else None)

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """/containerLogs/<namespace>/<pod>/<container>?follow=true&timestamps=true&sinceTime=…&tailLines=…"""
        url = urlsplit(request.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        log = self.log(url.path.split("/")[3])
        since = datetime.fromisoformat(asked["sinceTime"].replace("Z", "+00:00")) if "sinceTime" in asked else None
        self.streams += 1
        request.send_response(200)
        request.send_header("Content-Type", "text/plain")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        sent, at = 0, max(0, len(log.lines) - int(asked["tailLines"])) if "tailLines" in asked else 0
        while True:
            with log.changed:
                while asked.get("follow") == "true" and log.open and at >= len(log.lines):
                    log.changed.wait(0.5)
                    if self._stopped.is_set():
                        return
                new, at, over = log.lines[at:], len(log.lines), not log.open
            for when, text in new:
                if since is not None and when < since:
                    continue
                time = f"{when.strftime('%Y-%m-%dT%H:%M:%S.%fZ')} " if asked.get("timestamps") == "true" else ""
                line = f"{time}{text}\n".encode()
                request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                request.wfile.flush()
                sent += 1
                if log.cut_after is not None and sent >= log.cut_after:
                    request.close_connection = True
                    request.connection.close()
                    return
            if asked.get("follow") != "true" or (over and at == len(log.lines)):
                request.wfile.write(b"0\r\n\r\n")
                return

    def _let_go(self) -> None:
        """A pod that is being deleted stays until its kubelet says that its containers have ended."""
        while not self._stopped.wait(0.3):
            with suppress(ApiException, HTTPError):  # what is gone already, or a server that is busy: next time
                for pod in self._core.list_pod_for_all_namespaces().items:
                    if pod.metadata.deletion_timestamp and pod.spec.node_name:
                        name, space = pod.metadata.name, pod.metadata.namespace
                        self._core.delete_namespaced_pod(name, space, grace_period_seconds=0)


def _splice(tls: Any, plain: socket.socket, most: int | None) -> None:
    """Hands on what comes from either side, to its end, or `most` bytes from `plain`. In one thread, since one TLS
    connection is not for two."""
    with suppress(OSError):
        while most is None or most > 0:
            ready = [tls] if tls.pending() else select.select([tls, plain], [], [])[0]
            for source, target in ((tls, plain), (plain, tls)):
                if source in ready:
                    block = source.recv(1 << 16)
                    target.sendall(block if most is None or source is tls else block[:most])
                    if not block:
                        return
                    most = most - len(block) if most is not None and source is plain else most
