"""An address in a spec leads to the internet, or to a private host that the environment allows; never elsewhere."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from job import network
from job.errors import SpecInvalid
from job.fetch import https, sources
from job.spec import JobSpec
from tests.job.fetch.models import GOOD

PRIVATE = [
    "127.0.0.1", "127.1", "0x7f000001", "2130706433", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "::1", "::", "fe80::1", "fd00:ec2::254",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::", "fec0::1",
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "kubernetes", "minio", "s3.minio.svc", "a.svc.cluster.local",
    "a.b.svc.example", "metadata.google.internal", "metadata", "host.docker.internal", "printer.local",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "no-such-host.example"]
TIMEOUT = urllib3.Timeout(5)


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(network.VARIABLE)


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_host_is_refused_and_the_setting_that_allows_it_is_named(host: str) -> None:
    with pytest.raises(SpecInvalid, match="not a host of the internet") as told:
        network.check_host(host)
    assert network.VARIABLE in str(told.value)


@pytest.mark.parametrize("host", PUBLIC)
def test_a_host_of_the_internet_is_not(host: str) -> None:
    assert network.check_host(host) is False


@pytest.mark.parametrize(
    ("allowed", "host"),
    [
        ("*", "10.0.0.1"), ("10.0.0.0/8", "10.0.0.1"), ("a.example, 10.0.0.1", "10.0.0.1"), ("fd00::/8", "fd00::1"),
        ("minio", "minio"), (".svc.cluster.local", "s3.data.svc.cluster.local"), ("localhost", "LocalHost"),
    ],
)  # fmt: skip
def test_what_the_environment_allows_is_private_and_allowed(
    allowed: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(network.VARIABLE, allowed)
    assert network.check_host(host) is True


@pytest.mark.parametrize("allowed", ["10.0.0.2", "10.1.0.0/16", "ocalhost", "minio.svc", "1"])
def test_nothing_else_is(allowed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(network.VARIABLE, allowed)
    for host in ("10.0.0.1", "localhost", "minio"):
        with pytest.raises(SpecInvalid):
            network.check_host(host)


@pytest.mark.parametrize("where", ["dataset", "evaluation.text"])
def test_a_spec_that_names_one_is_refused_before_anything_is_fetched(where: str, tmp_path: Path) -> None:
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    bad, good = {"id": "https://169.254.169.254/latest/meta-data/x.jsonl"}, {"id": str(tmp_path / "rows.jsonl")}
    given: dict[str, Any] = {"model": {"id": str(tmp_path)}, "dataset": bad if where == "dataset" else good}
    if where != "dataset":
        given["evaluation"] = {"text": bad}
    with pytest.raises(SpecInvalid, match=r"169\.254\.169\.254 is not a host of the internet"):
        sources.resolve(JobSpec.model_validate(given))


@pytest.fixture
def server() -> Iterator[Any]:
    """A server on loopback that counts what it is asked, and redirects /to/HOST there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302 if self.path.startswith("/to/") else 200)
            if self.path.startswith("/to/"):
                self.send_header("Location", f"http://{self.path.removeprefix('/to/')}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.asked = asked  # type: ignore[attr-defined]
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def answers(monkeypatch: pytest.MonkeyPatch, host: str, *addresses: str) -> None:
    """The name server's answers for a host, one a question; the last one goes on."""
    left, real = list(addresses), socket.getaddrinfo

    def getaddrinfo(name: Any, port: Any, *args: Any, **options: Any) -> Any:
        if name == host:
            name = left.pop(0) if len(left) > 1 else left[0]
        return real(name, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("first", [["1.1.1.1"], ["1.1.1.1", "1.1.1.1"]], ids=["second", "third"])
def test_a_name_that_stands_for_another_address_at_a_later_question_reaches_nothing(
    first: list[str], server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, "rebind.example", *first, "127.0.0.1")
    with pytest.raises(SpecInvalid, match=r"rebind\.example \(127\.0\.0\.1\) is not a host of the internet"):
        https.download(f"http://rebind.example:{server.server_port}/x", tmp_path / "x")
    assert not server.asked


def test_a_redirect_leaves_neither_what_is_allowed_nor_the_class_of_the_first_address(
    server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(network.VARIABLE, "127.0.0.1")
    here = f"http://127.0.0.1:{server.server_port}"
    answers(monkeypatch, "elsewhere.example", "127.0.0.2")
    with pytest.raises(SpecInvalid, match=r"elsewhere\.example \(127\.0\.0\.2\) is not a host"):
        https.download(f"{here}/to/elsewhere.example:{server.server_port}/x", tmp_path / "x")
    https.download(f"{here}/to/127.0.0.1:{server.server_port}/x", tmp_path / "x")
    monkeypatch.setenv(network.VARIABLE, "127.0.0.0/8")
    answers(monkeypatch, "inside.example", "1.1.1.1", "127.0.0.1")
    with pytest.raises(SpecInvalid, match="an address in the internet leads to inside"):
        https.download(f"http://inside.example:{server.server_port}/x", tmp_path / "x")
    with pytest.raises(SpecInvalid, match=r"a private address leads to 1\.1\.1\.1"):
        https.download(f"{here}/to/1.1.1.1:9/x", tmp_path / "x")
