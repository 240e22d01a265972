"""What the parent does about a training that ran out of the GPU's memory."""

from types import SimpleNamespace
from typing import Any

import pytest

from job.errors import CudaOutOfMemory
from job.pipeline import train as stage
from job.predict.checkpointing import Checkpointing
from job.spec import JobSpec


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
