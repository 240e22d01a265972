"""The disk that each stage needs."""

from pathlib import Path

import pytest

from job.llama_cpp import windows
from job.predict import disk, vram
from job.predict.anatomy import anatomy_of
from tests.job.predict.families import spec
from tests.job.predict.sizes import SIZES


def test_the_disk_of_each_stage_is_what_lies_there() -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    asked = spec(export={"types": ["q4_k_m", "q8_0", "f16"]}, run={"store": "s3://bucket/runs"})
    size = disk.sizes(asked, model, files={"q4_k_m": 4_000_000_000, "q8_0": 7_000_000_000})
    lies = disk.by_stage(asked, size)
    words = disk.GGUF_WORD * model.vocabulary
    unquantized = disk.export_bytes(model, "f16") + words
    assert size.unquantized == unquantized
    assert lies["fetch"] == model.stored_bytes
    trained = size.adapter + 3 * size.checkpoint
    assert lies["train"] == model.stored_bytes + trained + size.checkpoint
    assert lies["export"] == model.stored_bytes + unquantized + trained
    assert size.logits == windows.logits_bytes(32000, 512, 32768 // 512)
    # Two files at a time, and the one of the unquantized type is a link to it.
    assert lies["evaluate"] == unquantized + trained + size.logits + 11_000_000_000 + 2 * words
    assert disk.peak(lies)[1] == max(lies.values())


def test_the_disk_is_enough_for_any_two_types_since_those_between_may_be_in_the_store() -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    asked = spec(export={"types": ["q8_0", "q2_k", "q6_k"]}, run={"store": "s3://bucket/runs"})
    size = disk.sizes(asked, model, files={"q8_0": 7_000_000_000, "q2_k": 1_000_000_000, "q6_k": 6_000_000_000})
    lies = disk.by_stage(asked, size)
    assert lies["evaluate"] - lies["export"] + size.base == size.logits + size.files["q8_0"] + size.files["q6_k"]


def test_a_store_in_the_work_directory_is_counted(tmp_path: Path) -> None:
    model = anatomy_of(SIZES["7B"][0], "7B")
    outside, inside = spec(run={"store": str(tmp_path)}), spec()
    size = disk.sizes(outside, model)
    beside = disk.by_stage(inside, size)["publish"] - disk.by_stage(outside, size)["publish"]
    assert beside == sum(size.files.values()) + size.adapter


def test_a_store_keeps_a_family_that_nothing_is_known_of_within_the_largest_sizes() -> None:
    size = disk.sizes(spec(), None, 10 * vram.GB)
    assert size.unquantized == 10 * vram.GB and size.logits == windows.LOGITS_LIMIT
    assert size.files["q8_0"] == pytest.approx(5.3 * vram.GB, rel=0.01)
