"""What the parent does about a training that ran out of the GPU's memory, or that was stopped."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from job.errors import CudaOutOfMemory, JobError, StoppedSaved, StoppedUnsaved, StorageFailed
from job.pipeline import train as stage
from job.predict.checkpointing import Checkpointing
from job.spec import JobSpec
from job.store.folder import FolderStore


def tries(monkeypatch: pytest.MonkeyPatch, every: int, fails: int, **training: Any) -> list[tuple[int, int | None]]:
    """What each try was given: how many activations are recomputed, and the micro-batch."""
    found: list[tuple[int, int | None]] = []

    def once(state: Any, key: str, every: int, micro_batch: int | None, unusable: set[int]) -> str:
        found.append((every, micro_batch))
        if len(found) <= fails:
            raise CudaOutOfMemory("too small")
        return "trained"

    monkeypatch.setattr(stage, "_train_once", once)
    monkeypatch.setattr(stage, "_choose_checkpointing", lambda _: Checkpointing(every=every, why="it fits"))
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "training": training})
    state: Any = SimpleNamespace(spec=spec)
    if fails > 2:
        with pytest.raises(CudaOutOfMemory):
            stage._train(state, "key")
    else:
        stage._train(state, "key")
    return found


def test_activations_are_recomputed_before_the_micro_batch_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries(monkeypatch, 0, 1) == [(0, None), (1, None)]
    assert tries(monkeypatch, 4, 2) == [(4, None), (1, None), (1, 2)]
    assert tries(monkeypatch, 0, 3) == [(0, None), (1, None), (1, 2)]


def test_what_the_spec_says_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries(monkeypatch, 0, 1, gradient_checkpointing=False) == [(0, None), (0, 2)]


def test_packed_rows_have_no_smaller_micro_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries(monkeypatch, 1, 3, packing=True) == [(1, None)]


@pytest.mark.parametrize(("size", "half"), [(2, 1), (4, 2), (5, 1), (6, 3), (7, 1), (9, 3), (12, 6)])
def test_half_of_a_micro_batch_divides_it(size: int, half: int) -> None:
    """5 rows in twos would be steps of 4 rows."""
    assert stage.half(size) == half


class Refuses(FolderStore):
    """Takes no file."""

    def put_file(self, key: str, path: Path, progress: Any = None) -> Any:
        raise StorageFailed("the store is full")


@pytest.mark.parametrize(("store", "error"), [(FolderStore, StoppedSaved), (Refuses, StoppedUnsaved)])
def test_a_stopped_training_is_called_saved_only_if_the_store_has_its_checkpoint(
    tmp_path: Path, store: type[FolderStore], error: type[JobError]
) -> None:
    def run_stage(module: Any, spec: Any, inputs: Any, folder: Path, on_event: Any) -> None:
        (folder / "checkpoint-2").mkdir(parents=True)
        (folder / "checkpoint-2" / "weights").write_text("2")
        on_event({"event": "train.checkpoint", "step": 2, "path": str(folder / "checkpoint-2")})
        raise StoppedSaved("stopped by a signal; step 2 is saved")

    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}})
    tokens = SimpleNamespace(eval=None, text=None, prompts=[], added=[], end_places=tuple, stop_ids=())
    model = SimpleNamespace(model=tmp_path, adapter=None)
    state: Any = SimpleNamespace(
        spec=spec,
        run=SimpleNamespace(
            work=tmp_path / "work",
            store=store(tmp_path / "store"),
            supervisor=SimpleNamespace(run_stage=run_stage),
            progressed=lambda: None,
        ),
        files=SimpleNamespace(model=model, train_rows=tmp_path / "train", tokens=tokens),
    )
    with pytest.raises(error) as caught:
        stage._train_once(state, "key", 1, None, set())
    assert type(caught.value) is error
    assert error is StoppedSaved or "the store is full" in caught.value.message
