"""A proxy in front of the S3 server of a test that brings the faults of a network.

It leaves out headers (a server without conditional writes, or without checksums), answers with an error, or loses the
reply to a request that the server has carried out.
"""

import http.client
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.s3_server import REGION, Bucket, Server

Request = tuple[str, str]
"""A method and a path with its query."""


@dataclass
class Proxy:
    """What stands between. `drop_request` and `drop_response` name headers by their start, in lower case."""

    server: Server
    port: int = 0
    drop_request: tuple[str, ...] = ()
    drop_response: tuple[str, ...] = ()
    answer: Callable[[Request], int | None] = lambda _: None
    """A status to answer with instead of asking the server, or None."""
    lose_reply: Callable[[Request], bool] = lambda _: False
    """Whether the server's reply to this request is lost."""
    cut_body_after: Callable[[Request], int | None] = lambda _: None
    """How many bytes of the reply's body come through before the connection ends, or None for all."""
    slow: Callable[[Request], float] = lambda _: 0
    """How many seconds the server takes before it reads the request."""
    before: Callable[[Request, bytes], None] = lambda *_: None
    """What happens before the server gets a request, which has this body."""
    requests: list[Request] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, pattern: str) -> list[Request]:
        """The requests so far whose `METHOD path` matches."""
        return [one for one in self.requests if re.search(pattern, " ".join(one))]

    def forward(self, handler: BaseHTTPRequestHandler) -> None:
        request = (handler.command, handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append(request)
        handler.close_connection = True
        time.sleep(self.slow(request))
        self.before(request, body)
        if status := self.answer(request):
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        kept = {
            k: v for k, v in handler.headers.items() if not k.lower().startswith((*self.drop_request, *_SIGNED_ANEW))
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            connection.request(handler.command, handler.path, body=body, headers=self._signed(request, body, kept))
            reply = connection.getresponse()
            data = reply.read()
        finally:
            connection.close()
        if self.lose_reply(request):
            return
        handler.send_response(reply.status)
        for name, value in reply.getheaders():
            if not name.lower().startswith((*self.drop_response, "transfer-encoding", "connection")):
                handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data[: self.cut_body_after(request)])

    def _signed(self, request: Request, body: bytes, headers: dict[str, str]) -> dict[str, str]:
        """The same request, signed for the server itself and without the headers that were left out."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        upstream = AWSRequest(request[0], self.server.endpoint + request[1], headers=headers, data=body)
        upstream.context["payload_signing_enabled"] = True
        S3SigV4Auth(Credentials(self.server.access_key, self.server.secret_key), "s3", REGION).add_auth(upstream)
        return dict(upstream.headers.items())


_SIGNED_ANEW = ("host", "authorization", "x-amz-date", "x-amz-content-sha256", "connection", "expect", "content-length")


@pytest.fixture
def s3_proxy(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of the bucket of `s3`; the environment leads to it."""
    proxy = Proxy(s3.server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            proxy.forward(self)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    proxy.port = listener.server_address[1]
    threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    listener.shutdown()
    listener.server_close()
