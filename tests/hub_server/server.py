"""The server: tests give it repositories, tokens and faults, and read what it was asked."""

import re
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hub_server.connection import Fault, Request
from tests.hub_server.handler import Handler
from tests.hub_server.repos import Account, Kind, Repo, Repos, Role
from tests.hub_server.xet import XetStorage


class Hub:
    """The server. Tests give it repositories and tokens, and read what it was asked."""

    def __init__(self, root: Path, port: int = 0, host: str = "127.0.0.1") -> None:
        self.repos = Repos(root)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.leaks: list[str] = []
        self.page_size = 1000
        self.lfs_above = 10_000_000
        self.multipart_above = 1 << 30
        self.part_size = 1 << 20
        self.xet: XetStorage | None = None
        self._parts: dict[str, dict[int, bytes]] = {}
        self._web, self._cdn = (_listen(self, host, number) for number in (port, 0))
        self.url = f"http://{host}:{self._web.server_address[1]}"
        self.cdn = f"http://{host}:{self._cdn.server_address[1]}"

    def token(self, value: str, name: str = "me", role: Role = "write", **more: Any) -> str:
        """Makes a token known."""
        self.repos.accounts[value] = Account(name, role, **more)
        return value

    def add(self, name: str, files: dict[str, bytes] | Path, kind: Kind = "model", **flags: bool) -> str:
        """A repository, or one more commit of it. Gives the commit's id."""
        if isinstance(files, Path):
            files = {p.relative_to(files).as_posix(): p.read_bytes() for p in sorted(files.rglob("*")) if p.is_file()}
        repo = self.repos.find(kind, name) or self.repos.create(name, kind, **flags)
        return self.repos.commit(repo, "main", files, "upload").id

    def repo(self, name: str, kind: Kind = "model") -> Repo:
        found = self.repos.find(kind, name)
        assert found
        return found

    def fail(self, pattern: str, times: int = 1, **how: Any) -> Fault:
        """Asks for a fault. `pattern` is searched in `METHOD path`."""
        fault = Fault(pattern, times, **how)
        self.faults.append(fault)
        return fault

    def fault_for(self, request: str) -> Fault | None:
        with self.repos.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def asked(self, pattern: str) -> list[Request]:
        """The requests so far whose `METHOD path` matches."""
        return [one for one in self.requests if re.search(pattern, f"{one.method} {one.path}")]

    def part(self, oid: str, number: int, data: bytes) -> None:
        self._parts.setdefault(oid, {})[number] = data

    def joined(self, oid: str) -> bytes:
        parts = self._parts.pop(oid)
        return b"".join(parts[number] for number in sorted(parts))

    def stop(self) -> None:
        for server in (self._web, self._cdn):
            server.shutdown()
            server.server_close()


def _listen(hub: Hub, host: str, port: int) -> ThreadingHTTPServer:
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
