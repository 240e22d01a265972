"""What a run has cost, and that it ends when it may cost no more."""

import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from job.artifacts import Frozen
from job.budget import MOST, PRICE, Budget, budget
from job.errors import CostExceeded, SpecInvalid
from job.run.cost import spent, watched
from job.run.supervise import Supervisor, Terminated
from job.run.usage import Usage, usage_key
from job.spec import JobSpec
from job.store import open_store

SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})
HOUR = 3600.0


def test_the_price_and_the_limit_come_from_the_job() -> None:
    assert budget({PRICE: "0.35", MOST: " 4 "}) == (0.35, 4.0)
    assert budget({}) == (None, None) and budget({PRICE: ""}) == (None, None)


@pytest.mark.parametrize("text", ["free", "-1", "0", "nan", "inf", "1,5"])
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(SpecInvalid, match=f"{PRICE}: '{text}' is not an amount"):
        budget({PRICE: text})


def test_a_limit_without_a_price_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="without FINETUNE_PRICE_PER_HOUR"):
        budget({MOST: "4"})


def test_all_attempts_count_each_as_far_as_it_was_measured(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    for attempt, seconds in enumerate(([1.0, HOUR], [], [0.5, HOUR / 2]), 1):
        usage = Usage(began=0, seconds=seconds, stages=["train"] * len(seconds), memory=[1] * len(seconds))
        store.put(usage_key("r1", attempt), usage.model_dump_json().encode())
    assert spent(store, "r1", Budget(2.0)) == (1.5 * HOUR, 3, 3.0)
    assert spent(store, "r1", Budget()).cost is None


def test_what_the_attempts_before_have_used_up_ends_the_run_at_once() -> None:
    said = r"the run has cost 4\.00 \(2\.00 hours at 2 an hour\), and its limit is 4"
    with pytest.raises(CostExceeded, match=said), watched(Budget(2.0, 4.0), 2 * HOUR, lambda fault: None):
        raise AssertionError("it began")


def test_without_a_limit_nothing_is_watched() -> None:
    before = threading.active_count()
    with watched(Budget(2.0), 9 * HOUR, lambda fault: None):
        assert threading.active_count() == before


def test_a_run_that_was_never_looked_at_ends_when_the_limit_is_reached() -> None:
    ended = threading.Event()
    began = time.monotonic()
    with watched(Budget(HOUR, 10.2), 10.0, lambda fault: ended.set()):
        assert ended.wait(30)
    assert time.monotonic() - began >= 0.2


def test_a_limit_of_ages_is_waited_for() -> None:
    with watched(Budget(1e-9, 1e9), 0.0, lambda fault: pytest.fail(fault.message)):
        pass


class Saves(ModuleType):
    """A stage that saves when it is asked to end."""

    NAME = "saves"


def test_the_stage_at_work_saves_before_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor
) -> None:
    saved = tmp_path / "saved"
    program = (
        "import pathlib, signal, sys\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(saved)!r}).touch(), sys.exit(75)))\n"
        "print('ready', flush=True)\nwhile True: signal.pause()\n"
    )
    run: Any = supervisor._run

    def child(_: Any, on_event: Any) -> Any:
        return run([sys.executable, "-c", program], on_event)

    monkeypatch.setattr(supervisor, "_run", child)
    limits = Budget(HOUR, 2.0)  # one a second
    with pytest.raises(CostExceeded, match="its limit is 2"), watched(limits, 0.0, supervisor.stop):
        supervisor.run_stage(Saves("saves"), SPEC, Frozen(), tmp_path / "stage")
    assert saved.exists()


def test_between_stages_the_run_ends_too() -> None:
    supervisor = Supervisor()
    supervisor.install()
    with pytest.raises(Terminated), watched(Budget(HOUR, 0.2), 0.0, supervisor.stop):
        threading.Event().wait(30)
    assert isinstance(supervisor.fault, CostExceeded)
