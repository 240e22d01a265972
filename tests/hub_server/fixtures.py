"""A Hub of the test's own, with and without Xet, and a server that says nothing."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from socket import create_server, socket
from types import SimpleNamespace

import pytest

from tests.hub_server.server import Hub
from tests.hub_server.xet import XetStorage


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of the test's own, and the environment that leads to it, also for child processes."""
    server = Hub(tmp_path_factory.mktemp("hub"))
    for variable in list(os.environ):
        if variable.startswith(("HF_", "HUGGING_FACE", "HUGGINGFACE")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", server.token("hf_" + "localtokenLOCALTOKEN" + "0123456789"))
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    _use_xet(monkeypatch, False)
    yield server
    server.stop()


@pytest.fixture
def xet_hub(hub: Hub, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub whose clients send and get large files by Xet, as the public one's do."""
    hub.xet = XetStorage(tmp_path_factory.mktemp("xet"))
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    _use_xet(monkeypatch, True)
    return hub


@pytest.fixture
def impatient_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub whose clients ask again at once."""
    at_once = SimpleNamespace(sleep=lambda _: None, time=time.time, monotonic=time.monotonic)
    monkeypatch.setattr("huggingface_hub.utils._http.time", at_once)
    monkeypatch.setattr("job.hub.calls.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("job.hub.calls.LONGEST_WAIT_S", 0.02)
    return hub


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    server = create_server(("127.0.0.1", 0))
    held: list[socket] = []

    def take() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    for one in held:
        one.close()


def _use_xet(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    """In this process too, if it has imported the client already."""
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not wanted)
