"""A result that is too bad is not published, and its work is kept."""

import shutil
from pathlib import Path

import pytest

from tests.faults.runs import Run

pytestmark = pytest.mark.slow

TOO_BAD = 81


def test_a_loss_that_is_not_a_number_publishes_nothing(run: Run, tiny_model: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_model, run.root / "broken")
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    run.spec["model"]["id"] = str(model)
    ended = run.ends(TOO_BAD)
    assert "the loss is nan" in ended.output


def test_a_model_that_has_become_worse_publishes_nothing(run: Run) -> None:
    run.spec["evaluation"]["gate"] = {"max_tuned_ratio": 0.01}
    ended = run.ends(TOO_BAD)
    assert "nothing is published, because the result is worse than allowed" in ended.output
    assert {"train", "export", "quantize"} <= ended.stages_run()
    again = run.ends(TOO_BAD)
    assert again.stages_run() & {"train", "quantize"} == set(), "its work is kept"
