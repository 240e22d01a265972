"""`training.gradient_checkpointing: auto`: as few blocks recompute their activations as the GPU's memory allows."""

from typing import Any

import pytest

from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.checkpointing import SHARE, Checkpointing, choose
from job.predict.gpus import GPUS
from job.predict.prediction import predict
from job.predict.timing import Machine
from job.predict.vram import vram
from job.spec import JobSpec
from tests.job.predict.sizes import SIZES

MODEL = anatomy_of(SIZES["7B"][0], "7B")


def spec(**training: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, "training": training})


def chosen(memory: float | None, longest: int | None = None, model: Anatomy | None = MODEL, **training: Any) -> Any:
    return choose(spec(**training), model, None if memory is None else int(memory), longest, triton=False)


def test_short_rows_need_none_on_a_t4_and_long_ones_some() -> None:
    memory = GPUS["t4"].memory
    assert chosen(memory, 40).every == 0
    assert chosen(memory, 1024).every != 0
    assert chosen(GPUS["h100"].memory, 1024).every == 0


def test_what_is_chosen_fits_and_the_next_faster_one_does_not() -> None:
    seen = set()
    for memory in range(8_000_000_000, 40_000_000_000, 400_000_000):
        found = chosen(memory)
        seen.add(found.every)
        if found.every != 1:
            assert found.needed <= SHARE * memory
    assert {0, 1, 2, 3} <= seen
    counts = [_recomputed(chosen(memory)) for memory in range(8_000_000_000, 40_000_000_000, 400_000_000)]
    assert counts == sorted(counts, reverse=True), "more memory never recomputes more"


def _recomputed(found: Checkpointing) -> int:
    return -(-MODEL.layers // found.every) if found.every else 0


def test_the_ends_are_those_of_the_prediction_with_and_without_it() -> None:
    assert chosen(1e12).needed == vram(spec(gradient_checkpointing=False), MODEL).total
    assert chosen(1e9).needed == vram(spec(gradient_checkpointing=True), MODEL).total


def test_the_spec_has_the_last_word_and_without_a_prediction_all_blocks_recompute() -> None:
    assert chosen(1e12, gradient_checkpointing=True).every == 1
    assert chosen(1e9, gradient_checkpointing=False).every == 0
    assert chosen(None).every == 1
    assert chosen(1e12, model=None).every == 1


def test_packed_rows_are_as_long_as_max_length_and_alone() -> None:
    assert chosen(1e12, 40, packing=True).needed == chosen(1e12, packing=True).needed
    assert (
        chosen(1e12, packing=True).needed
        == chosen(1e12, per_device_train_batch_size=1, gradient_accumulation_steps=4).needed
    )


def test_what_is_planned_with_auto_is_at_most_what_it_takes() -> None:
    auto, on, off = (
        predict(spec(gradient_checkpointing=one, max_steps=10), MODEL, Machine(GPUS["t4"]), exact=False)
        for one in ("auto", True, False)
    )
    assert auto.vram == on.vram and auto.ram == on.ram
    assert (off.total.most or 0) <= (auto.total.most or 0) <= (on.total.most or 0)


@pytest.mark.parametrize("longest", [None, 5000])
def test_a_row_is_never_taken_for_longer_than_max_length(longest: int | None) -> None:
    assert chosen(1e12, longest).needed == chosen(1e12, 1024).needed
