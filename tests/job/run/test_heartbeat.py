"""A run is never silent: what says nothing itself is spoken for."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from job import logs
from job.run import active_run, heartbeat
from job.run.events import read_events
from job.run.heartbeat import Heartbeat
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.store import open_store


@contextmanager
def logged(silent_s: float) -> Iterator[list[dict[str, Any]]]:
    """Collects what is logged, beside a heartbeat."""
    found: list[dict[str, Any]] = []
    beat = Heartbeat(silent_s=silent_s)
    logs.configure(lambda record: found.append(dict(record)), beat, to_stdout=False)
    with beat.beating():
        yield found


@pytest.fixture
def events() -> Any:
    """What is logged, beside a heartbeat that is impatient."""
    with logged(0.1) as found:
        yield found


def wait_for(events: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The events of the heartbeat, once there are so many."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        beats = [event for event in events if event["event"] == "progress"]
        if len(beats) >= count:
            return beats
        time.sleep(0.01)
    raise AssertionError(events)


@pytest.mark.parametrize(
    ("event", "fields", "what"),
    [
        ("stage.start", {"stage": "train"}, "training"),
        ("stage.start", {"stage": "evaluate", "type": "q4_k_m"}, "judging q4_k_m"),
        ("stage.end", {"stage": "train", "seconds": 743.2}, "training: storing"),
        ("train.loading_model", {"stage": "train", "model": "Llama", "bits": 4}, "loading Llama"),
        ("command", {"command": "/opt/llama/bin/llama-imatrix -m a.gguf"}, "llama-imatrix"),
        ("progress", {"what": "importance matrix", "done": 1, "total": 9, "unit": "chunks"}, "importance matrix"),
    ],
)
def test_silent_work_is_named_by_what_announced_it(
    events: list[dict[str, Any]], event: str, fields: dict[str, Any], what: str
) -> None:
    logs.log.info(event, **fields)
    first, second = [one for one in wait_for(events, 3) if one["done"] is None][:2]
    assert first["what"] == second["what"] == what
    assert first["total"] is None and 0 < first["elapsed_s"] <= second["elapsed_s"]


def test_work_that_speaks_is_not_spoken_for() -> None:
    with logged(2) as events:
        began = time.monotonic()
        while time.monotonic() - began < 3:
            logs.log.info("train.log", step=1)
            time.sleep(0.01)
    assert {event["event"] for event in events} == {"train.log"}


def test_what_only_a_log_has_breaks_no_silence(events: list[dict[str, Any]]) -> None:
    for _ in range(100):
        logs.log.debug("line", message="Loading weights")
        time.sleep(0.005)
    assert wait_for(events, 2)


def test_every_run_has_a_heartbeat_from_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(heartbeat.Heartbeat.__init__, "__defaults__", (0.1,))
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "run": {"id": "one"}})
    with active_run.opened(spec, "one", Supervisor()):
        time.sleep(2)
    beats = [
        one for one in read_events(open_store(str(tmp_path / "work" / "store")), "one") if one["event"] == "progress"
    ]
    assert beats and all(beat["run"] == "one" for beat in beats), json.dumps(beats)


def test_a_person_does_not_wait_five_seconds_for_a_sign() -> None:
    assert heartbeat.SILENT_S < 5
