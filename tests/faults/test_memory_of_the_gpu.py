"""A GPU whose memory is too small: half the micro-batch once, then an end that says so."""

import pytest

from tests.faults.runs import Run

pytestmark = pytest.mark.slow


def test_half_the_micro_batch_is_tried_once(run: Run) -> None:
    run.losses = None  # of other batches, though of the same rows
    ended = run.completes(fault="room_for:1")
    (told,) = ended.named("train.retry_with_half_the_micro_batch")
    assert told["micro_batch"] == 1


def test_a_gpu_that_has_no_room_for_one_row_ends_the_run(run: Run) -> None:
    ended = run.ends(80, fault="room_for:0")
    assert len(ended.named("train.retry_with_half_the_micro_batch")) == 1
    assert "CUDA out of memory" in ended.output
    run.completes()
