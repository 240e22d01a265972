"""What gets no adapters is told before anything is fetched."""

from pathlib import Path

import pytest
import torch

from job.architectures import auto_class_of
from job.rehearsal.adapting import write_adapter
from job.train.targets import experts
from tests.families.configs import FAMILIES, config_of
from tests.job.rehearsal.rehearsing import spec_of

MIXTURES = ["Mixtral", "Qwen 3, experts", "gpt-oss", "Granite, experts", "Qwen 2, experts", "LFM2, experts", "OLMoE"]


@pytest.mark.parametrize("family", MIXTURES)
def test_the_experts_of_every_mixture_are_named_with_their_size(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.device("meta"):
        model = auto_class_of(FAMILIES[family].model_type).from_config(config_of(FAMILIES[family]))
    left = sum(weight.numel() for weight in experts(model).values())
    spec = spec_of("someone/model", lora={"target_modules": "all-linear"})
    assert write_adapter(spec, model, tmp_path / "adapter")
    assert f"experts, {left:,} parameters, get no adapters" in capsys.readouterr().out
    assert not any("experts" in name for name, weight in model.named_parameters() if "lora_" in name)
