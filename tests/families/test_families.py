"""A family goes through all that a run does with a model, and its file says in llama.cpp what transformers says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench.rows_as_tokens import train_inputs
from job.agreement import stage as agreement
from job.architectures import auto_class
from job.export import stage as export_stage
from job.spec import JobSpec
from job.train import stage as train_stage
from tests.export_reference import logits_by_transformers, logits_of
from tests.families.configs import FAMILIES, make
from tests.job.rehearsal.rehearsing import rehearse

pytestmark = [pytest.mark.slow, pytest.mark.families]

SHORT, LONG = "The quick brown fox", "The quick brown fox jumps over the lazy dog and " * 12
NEAR = 0.06


@pytest.mark.parametrize("targets", ["auto", "all-linear"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_trained_and_exported_as_it_is(family: str, targets: str, tmp_path: Path) -> None:
    model = make(family, tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"{SHORT} number {n} jumps over the dog"}) + "\n" for n in range(12)))
    steps = {"max_steps": 1, "max_length": 64, "per_device_train_batch_size": 2, "report_to": []}
    spec = JobSpec.model_validate(
        {
            "model": {"id": str(model)},
            "dataset": {"id": str(rows)},
            "load": {"bits": FAMILIES[family].bits},
            "lora": {"target_modules": targets},
            "training": steps | {"trainer": FAMILIES[family].trainer},
            "evaluation": {"samples": 0},
            "export": {"dtype": "f32"},
        }
    )
    rehearsed = rehearse(spec, tmp_path / "rehearsed")
    compared = agreement.run(spec, agreement.Inputs(model=model), tmp_path / "compared")
    assert compared.distance is None or compared.distance < NEAR
    trained = train_stage.run(spec, train_inputs(spec, model, rows, tmp_path / "tokens"), tmp_path / "trained")
    change_all(trained.adapter, model)
    inputs = export_stage.Inputs(model=model, adapter=trained.adapter, name="tiny")
    exported = export_stage.run(spec, inputs, tmp_path / "out")
    assert (exported.changed, exported.tensors) == (rehearsed.changed, rehearsed.tensors)
    tuned = with_adapter(model, trained.adapter)
    for prompt in (SHORT, LONG):
        ids, logits = logits_of(exported.gguf, prompt, tmp_path / "logits")
        expected = logits_by_transformers(tuned, ids)
        assert np.abs(logits - expected).max() / expected.std() < NEAR


def change_all(adapter: Path, model: Path) -> None:
    """Factors that change every target, since one step leaves half of them zero."""
    path = adapter / "adapter_model.safetensors"
    chance = torch.Generator().manual_seed(1)
    weights = {
        name: weight + torch.randn(weight.shape, generator=chance) * 0.02 if "lora_" in name else weight
        for name, weight in load_file(path).items()
    }
    save_file(weights, path, metadata={"format": "pt"})
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(model)}))


def with_adapter(model: Path, adapter: Path) -> torch.nn.Module:
    from peft import PeftModel

    base = auto_class(model).from_pretrained(model, dtype=torch.float32).eval()
    tuned: torch.nn.Module = PeftModel.from_pretrained(base, str(adapter)).eval()
    return tuned
