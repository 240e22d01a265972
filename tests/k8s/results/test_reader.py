"""The pod that reads a volume gives its files to whoever has the password, and imports nothing from it."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8s.results import reader


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The pod's own command, in a folder for the volume."""
    (tmp_path / "manifest.json").write_text("the run's")
    (tmp_path / "http.py").write_text("raise SystemExit('imported from the volume')\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    container = reader._pod("reader", "claim", "image", None, "the password")["spec"]["containers"][0]
    _, *rest = [part.replace(str(reader.PORT), str(port)) for part in container["command"]]
    environ = {one["name"]: one["value"] for one in container["env"]}
    process = subprocess.Popen([sys.executable, *rest], cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def read(url: str, password: str | None, method: str = "GET") -> bytes:
    headers = {} if password is None else {reader.PASSWORD: password}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method=method)) as reply:
        return bytes(reply.read())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("password", [None, "", "another"])
@pytest.mark.parametrize("path", ["/", "/manifest.json", "/nothing"])
def test_without_the_password_nothing_is_told(address: str, path: str, password: str | None, method: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(address + path, password, method)


def test_with_it_the_files_are(address: str) -> None:
    assert read(f"{address}/manifest.json", "the password") == b"the run's"


def test_the_pod_has_only_the_passwords_hash() -> None:
    assert "the password" not in str(reader._pod("reader", "claim", "image", None, "the password"))
