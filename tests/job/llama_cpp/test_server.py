"""A llama-server is reached by whoever started it alone, and does not outlive it."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from job.errors import EnvironmentUnfit
from job.llama_cpp import bundle, offload, server
from tests.export_reference import exported

pytestmark = pytest.mark.slow
SECRET = "a-secret-of-somebody"


@pytest.fixture(scope="module")
def gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tiny_model, None, tmp_path_factory.mktemp("server")).gguf


@pytest.fixture(scope="module")
def running(gguf: Path) -> Iterator[server.Server]:
    """In an environment with a secret, and with options that would open a port."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_ARG_HOST", "0.0.0.0")
        patch.setenv("LLAMA_ARG_CTX_SIZE", "16")
        patch.setenv("MY_API_KEY", SECRET)
        with server.serving(gguf, offload.WITHOUT_GPU, context=64, slots=1) as found:
            yield found


def test_no_port_is_opened_and_the_socket_is_its_own_users(running: server.Server) -> None:
    listening = psutil.Process(running.program.pid).net_connections("inet")
    assert [one for one in listening if one.status == psutil.CONN_LISTEN] == []
    assert stat.S_IMODE(running.address.parent.stat().st_mode) == 0o700


def test_its_key_is_in_its_environment_alone_and_no_secret_of_the_user_is(running: server.Server) -> None:
    process = psutil.Process(running.program.pid)
    assert running.key not in " ".join(process.cmdline())
    held = process.environ()
    assert held["LLAMA_API_KEY"] == running.key and SECRET not in held.values() and "LLAMA_ARG_HOST" not in held


def test_without_the_key_it_answers_nobody_and_has_no_page_and_no_tools(running: server.Server) -> None:
    found: dict[str, bytes] = {}
    key = f"Authorization: Bearer {running.key}\r\n"
    for name, path, head in (("key", "/props", ""), ("page", "/", key), ("tools", "/tools", key)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.connect(str(running.address))
            asked.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode())
            found[name] = asked.recv(1 << 16).split(b"\r\n")[0]
    assert {name: re.findall(rb"\d{3}", line)[0] for name, line in found.items()} == {
        "key": b"401",
        "page": b"404",
        "tools": b"403",
    }


def test_the_bundled_server_has_no_web_page_inside() -> None:
    assert b"<!doctype html>" not in bundle.program("llama-server").read_bytes().lower()


def test_it_ends_with_the_process_that_started_it(gguf: Path) -> None:
    """Even if that is killed: nothing would end it otherwise."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom job.llama_cpp import offload, server\n"
        "with server.serving(Path(sys.argv[1]), offload.WITHOUT_GPU, context=64, slots=1) as one:\n"
        "    print(one.program.pid, flush=True)\n    time.sleep(300)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, gguf], stdout=subprocess.PIPE, text=True)
    assert starter.stdout
    started = psutil.Process(int(starter.stdout.readline()))
    os.kill(starter.pid, signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    until = time.monotonic() + 10
    while started.is_running() and started.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_path_that_is_too_long_for_a_socket_is_told(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with (
        pytest.raises(EnvironmentUnfit, match="the path of a socket is too long"),
        server.serving(gguf, offload.WITHOUT_GPU, context=64, slots=1),
    ):
        pass
