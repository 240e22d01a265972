"""How an attempt begins and ends: what it cannot record never hides how it went."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import DataInvalid, IntegrityViolated, StorageFailed
from job.run.active_run import ActiveRun, opened
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.store.folder import FolderStore

RUN = "one"


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobSpec:
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    return JobSpec.model_validate(
        {"model": {"id": "./m"}, "dataset": {"id": "./d"}, "run": {"store": str(tmp_path / "store")}}
    )


def refuse_writes(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """From now on the store takes nothing."""

    def put(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(FolderStore, "put", put)


@pytest.mark.parametrize("broken", [StorageFailed("the disk is full"), OSError(28, "No space left"), ValueError("any")])
def test_the_error_that_ended_a_run_is_not_hidden_by_one_while_recording_it(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch, broken: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataInvalid, match="line 7"), opened(spec, RUN, Supervisor()):
        refuse_writes(monkeypatch, broken)
        raise DataInvalid("line 7 is not a row")
    said = capsys.readouterr().out
    assert "run.end_not_recorded" in said and str(broken) in said


def test_a_run_that_is_done_stays_done_if_its_end_cannot_be_recorded(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(spec, RUN, Supervisor()):
        refuse_writes(monkeypatch, StorageFailed("the disk is full"))


def pin(run: ActiveRun) -> dict[str, Any]:
    return run.pin({"model": None})


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"spec": {}}', b"[" * 100_000])
def test_a_damaged_pin_is_named(spec: JobSpec, damage: bytes) -> None:
    with opened(spec, RUN, Supervisor()) as run:
        run.store.put(f"runs/{RUN}/spec.json", damage)
        with pytest.raises(IntegrityViolated, match=f"runs/{RUN}/spec.json is damaged"):
            pin(run)
