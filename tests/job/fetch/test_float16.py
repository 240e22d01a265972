"""Weights that float16 cannot hold are found where they come in, whatever they are stored as."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from job.errors import IntegrityViolated
from job.fetch import float16
from job.fetch.float16 import beyond_float16


def stored(folder: Path, dtype: torch.dtype, value: float, shape: tuple[int, ...] = (64, 96)) -> list[Path]:
    weight = torch.linspace(-3, 3, 64 * 96).reshape(shape).to(dtype)
    weight.view(-1)[-7] = value
    save_file({"fine": torch.full((4, 4), 65504.0), "large": weight}, folder / "model.safetensors")
    return [folder / "model.safetensors"]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float16, "_BLOCK", 1024)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [-70000.0, 1e9])
def test_a_larger_value_is_named(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    found = beyond_float16(stored(tmp_path, dtype, value), "someone/model")
    assert found and found.name == "large"
    assert found.value == pytest.approx(abs(value), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_what_fits_is_not_named(tmp_path: Path, dtype: torch.dtype) -> None:
    assert beyond_float16(stored(tmp_path, dtype, 65280.0), "someone/model") is None


def test_a_vector_is_exported_in_float32_whatever_it_holds(tmp_path: Path) -> None:
    assert beyond_float16(stored(tmp_path, torch.bfloat16, 1e9, (64 * 96,)), "someone/model") is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_is_refused(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    with pytest.raises(IntegrityViolated, match="someone/model: large has NaN or infinite values"):
        beyond_float16(stored(tmp_path, dtype, value), "someone/model")
