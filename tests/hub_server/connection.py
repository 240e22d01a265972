"""One HTTP connection: its requests are noted, faults happen to them, and answers are sent."""

import json
import re
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

if TYPE_CHECKING:
    from tests.hub_server.server import Hub


@dataclass
class Fault:
    """What goes wrong with the requests whose `METHOD path` matches, and how often it does."""

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "it was asked for"
    after: bool = False
    """The request takes effect first, and then fails."""
    cut_at: int | None = None
    """The body ends after so many bytes, with the connection."""
    corrupt: bool = False
    delay_s: float = 0


@dataclass
class Request:
    """One request as it came: what was asked, by whom, how it was answered, the bytes of its body."""

    method: str
    path: str
    token: str | None
    status: int
    received: int
    sent: int
    range: str | None


class Refused(Exception):
    """What the Hub answers instead: a status, a message and, for some, a code that its client knows."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code


class Connection(BaseHTTPRequestHandler):
    """One connection. `_answer` ends in `_send`, or raises Refused."""

    hub: "Hub"
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_any(self) -> None:
        split = urlsplit(self.path)
        self.route, self.query = unquote(split.path), parse_qs(split.query)
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        self.token = token if scheme == "Bearer" and token else None
        self.body = self._read_body()
        self.fault = self.hub.fault_for(f"{self.command} {self.route}")
        self.note = Request(self.command, self.route, self.token, 0, len(self.body), 0, self.headers.get("Range"))
        self.hub.requests.append(self.note)
        try:
            self._answer_with_fault()
        except Refused as refusal:
            self._refuse(refusal)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    def _answer_with_fault(self) -> None:
        fault = self.fault
        if fault and fault.delay_s:
            time.sleep(fault.delay_s)
        if fault and fault.status:
            if fault.after:
                self.dry = True
                self._answer()
            headers = {"X-Error-Message": fault.message, **fault.headers}
            self.dry = False
            self._send(json.dumps({"error": fault.message}).encode(), fault.status, headers)
            return
        self._answer()

    dry = False
    """The answer is thrown away: the request has taken effect and the fault's answer follows."""

    def _answer(self) -> None:
        """Answers the request: the handler of all routes does (handler.py)."""
        raise NotImplementedError

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        blocks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _refuse(self, refusal: Refused) -> None:
        headers = {"X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        self._send(json.dumps({"error": refusal.message}).encode(), refusal.status, headers)

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if self.dry:
            return
        fault = self.fault
        if fault and fault.corrupt and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.note.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.cut_at is not None:
            data = data[: fault.cut_at]
            self.close_connection = True
        self.wfile.write(data)
        self.note.sent = len(data)

    def _send_range(self, data: bytes, headers: dict[str, str]) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self._send(data, 200, headers)
        start, end = int(found[1]), int(found[2] or len(data) - 1)
        where = f"bytes {start}-{end}/{len(data)}"
        self._send(data[start : end + 1], 206, {**headers, "Content-Range": where})

    def _page(self, entries: list[Any]) -> None:
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        headers = {}
        if end < len(entries):
            kept = "&".join(f"{k}={quote(v[0])}" for k, v in self.query.items() if k != "cursor")
            headers["Link"] = f'<{self.hub.url}{quote(self.route)}?{kept}&cursor={end}>; rel="next"'
        self._json(entries[start:end], headers)
