"""What is made while something else is judged: how it fails, and how it ends."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from job.errors import EnvironmentUnfit, JobError, RemoteUnavailable
from job.llama_cpp import process
from job.pipeline.lanes import NICENESS, Lanes
from job.run.supervise import Supervisor, Terminated

LONG = ("sleep", "60")
AT_ONCE_S = 20.0


def end_with(error: JobError) -> None:
    time.sleep(0.2)
    raise error


def run_as_speeds_are_measured() -> list[str]:
    """As `speed.speeds` does it: a program that fails leaves a gap."""
    try:
        return [process.run(LONG, error=EnvironmentUnfit)]
    except JobError:
        return []


@pytest.mark.parametrize("lane", ["make", "upload"])
def test_a_failure_ends_what_the_main_thread_runs_at_once_and_is_the_run_s(lane: str) -> None:
    began = time.monotonic()
    failure = RemoteUnavailable("gone", hint="Wait.")
    with pytest.raises(RemoteUnavailable) as raised, Lanes(beside=True) as lanes:
        getattr(lanes, lane)(end_with, failure)
        pytest.fail(f"it was taken for a gap: {run_as_speeds_are_measured()}")
    assert raised.value is failure
    assert time.monotonic() - began < AT_ONCE_S


def test_a_failed_upload_ends_what_is_made_at_once_and_is_what_the_main_thread_gets() -> None:
    began = time.monotonic()
    with pytest.raises(RemoteUnavailable), Lanes(beside=False) as lanes:
        making = lanes.make(process.run, LONG)
        lanes.upload(end_with, RemoteUnavailable("gone", hint="Wait."))
        making.result()
    assert time.monotonic() - began < AT_ONCE_S


def test_a_failure_of_the_main_thread_ends_what_is_made_and_nothing_more_is_started() -> None:
    with pytest.raises(EnvironmentUnfit), Lanes(beside=True) as lanes:
        making = lanes.make(run_as_speeds_are_measured)
        later = lanes.make(process.run, ("true",))
        end_with(EnvironmentUnfit("no memory", hint="Give it more."))
    with pytest.raises(process.Stopped):
        making.result(AT_ONCE_S)
    assert later.cancelled()
    assert process.run(("echo", "on"), error=EnvironmentUnfit) == "on\n", "only that group is stopped"


def test_a_signal_in_any_wait_of_the_main_thread_ends_what_is_made() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    Supervisor().install()
    try:
        with pytest.raises(Terminated), Lanes(beside=True) as lanes:
            making = lanes.make(process.run, LONG)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
            making.result()
        with pytest.raises(process.Stopped):
            making.result(AT_ONCE_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_end_waits_for_what_has_begun_however_early_a_signal_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its start and the main thread's knowing of it."""
    begun, said = threading.Event(), []

    def make() -> None:
        try:
            begun.set()
            process.run(LONG)
        finally:
            time.sleep(0.5)
            said.append("its own end")

    def interrupted(*given: Any) -> None:
        submit(*given)
        assert begun.wait(AT_ONCE_S)
        raise Terminated

    submit = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(Terminated), Lanes(beside=True) as lanes:
        lanes.make(make)
    assert said == ["its own end"]


@pytest.mark.parametrize("beside", [True, False])
def test_what_is_made_beside_yields_to_what_feeds_the_gpu(beside: bool) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with Lanes(beside=beside) as lanes:
        made = lanes.make(process.run, ("nice",)).result()
    assert int(made) == (min(19, own + NICENESS) if beside else own)
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_an_event_of_a_program_s_errors_belongs_to_its_stage(tmp_path: Path) -> None:
    import structlog

    seen: list[dict[str, object]] = []
    with structlog.contextvars.bound_contextvars(stage="quantize", type="q8_0"):
        process.run(
            ("sh", "-c", "echo said >&2"), on_line=lambda _: seen.append(structlog.contextvars.get_contextvars())
        )
    assert seen == [{"stage": "quantize", "type": "q8_0"}]
