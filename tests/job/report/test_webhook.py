"""A chat is told how a run ended, and a chat that is away changes nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.artifacts import Artifact
from job.errors import DataInvalid
from job.report import webhook
from job.run.records import Manifest, PublishedFile, StageRecord

SECRET_PATH = "/services/" + "T0CANARY0SECRET"


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that takes messages; `status` is what it answers."""
    got: list[dict[str, Any]] = []
    state = SimpleNamespace(got=got, status=200)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(state.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setenv(webhook.VARIABLE, f"http://127.0.0.1:{server.server_port}{SECRET_PATH}")
    yield state
    server.shutdown()
    server.server_close()


def manifest() -> Manifest:
    artifact = Artifact(path="m-q8_0.gguf", sha256="0" * 64, size=145_000_000)
    records = {
        "train": StageRecord(stage="train", key="k", artifacts=[], metrics={"loss_before": 3.0, "loss_after": 1.5}),
        "quantize/q8_0": StageRecord(
            stage="quantize", key="k", artifacts=[artifact], metrics={"bits_per_weight": 8.5, "type": "q8_0"}
        ),
    }
    file = PublishedFile(name="m-Q8_0.gguf", key="k", type="q8_0", sha256="0" * 64, size=145_000_000)
    return Manifest(
        run="r", name="m", spec={}, sources={}, stages=records, files=[file], places=["s3://b/m"], versions={}
    )


def test_a_finished_run_tells_its_table_and_its_places(chat: Any) -> None:
    webhook.tell_done(manifest(), "s3://b/runs/r/manifest.json")
    (message,) = chat.got
    for part in ("m: done", "3.000 before, 1.500 after", "m-Q8_0.gguf: size 145.0 MB", "s3://b/m", "manifest.json"):
        assert part in message["text"]


def test_a_failed_run_tells_its_code_and_the_next_step_without_a_secret(
    chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-in-the-message")
    webhook.tell_failed("m", "r", DataInvalid("row 7 is broken, canary-in-the-message", hint="Mend it."))
    assert chat.got[0]["text"] == "m: failed with exit code 65 (run r)\nrow 7 is broken, [redacted]\nMend it."


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:1" + SECRET_PATH, "no address " + SECRET_PATH])
def test_a_chat_that_is_away_changes_nothing_and_its_address_is_not_told(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(webhook.VARIABLE, address)
    with capture_logs() as events:
        webhook.tell_done(manifest(), "here")
    assert [event["event"] for event in events] == (["webhook.not_sent"] if address else [])
    assert SECRET_PATH not in str(events)


def test_a_chat_that_says_nothing_is_not_waited_for(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert webhook.TIMEOUT_S == 10
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.2)
    monkeypatch.setenv(webhook.VARIABLE, f"{silent}{SECRET_PATH}")
    with capture_logs() as events:
        webhook.tell_done(manifest(), "here")
    assert [event["event"] for event in events] == ["webhook.not_sent"]


def test_a_chat_that_refuses_is_told_in_the_log(chat: Any) -> None:
    chat.status = 404
    with capture_logs() as events:
        webhook.tell_done(manifest(), "here")
    assert events[0]["why"] == "status 404"
