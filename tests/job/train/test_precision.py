"""In which precision is trained: by device and spec, and in float32 what is trained whole."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import EnvironmentUnfit
from job.train import precision
from tests.job.train.trainers import adapter_of, spec_of, trained

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("capability", "training", "load", "expected"),
    [
        (None, {}, {}, ("float32", False, False)),
        ((7, 5), {}, {}, ("float16", True, False)),
        ((8, 0), {}, {}, ("bfloat16", False, True)),
        ((8, 9), {"fp16": True}, {"compute_dtype": "float16"}, ("float16", True, False)),
        ((7, 5), {"fp16": False, "bf16": False}, {}, ("float16", False, False)),
        ((7, 5), {"bf16": True}, {}, None),
        ((7, 5), {}, {"compute_dtype": "bfloat16"}, None),
        (None, {"fp16": True}, {}, None),
        ((8, 0), {"attn_implementation": "flash_attention_2"}, {}, ("bfloat16", False, True)),
        ((7, 5), {"attn_implementation": "flash_attention_2"}, {}, None),
        (None, {"attn_implementation": "flash_attention_2"}, {}, None),
    ],
)
def test_precision_is_what_the_device_can_do_and_the_spec_says(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path, capability: Any, training: Any, load: Any, expected: Any
) -> None:
    monkeypatch.setattr(precision, "_capability", lambda: capability)
    spec = spec_of(tiny_model, training=training, load=load)
    if expected is None:
        with pytest.raises(EnvironmentUnfit):
            precision.choose(spec, ["llama"])
        return
    chosen = precision.choose(spec, ["llama"])
    assert (chosen.compute, chosen.fp16, chosen.bf16) == expected


SAVED = {"embed_tokens", "lm_head"}
HALVES = {
    "16 bits, mixed": ({"bits": 16, "compute_dtype": "bfloat16"}, True),
    "16 bits, without autocast": ({"bits": 16, "compute_dtype": "bfloat16"}, False),
    "4 bits, frozen in the compute dtype": ({"compute_dtype": "bfloat16", "frozen_dtype": "compute"}, True),
    "4 bits, without autocast": ({"compute_dtype": "bfloat16", "frozen_dtype": "compute"}, False),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("trainer", ["trl", "transformers"])
def test_modules_that_are_trained_whole_are_trained_in_float32(
    tiny_model: Path, data: Path, tmp_path: Path, half: str, trainer: str
) -> None:
    """Beside 16-bit weights, in which small updates would be lost, and which fp16's gradient scaler refuses."""
    import torch

    load, bf16 = HALVES[half]
    training = {"bf16": bf16, "trainer": trainer}
    spec = spec_of(
        tiny_model, load=load, training=training, lora={"modules_to_save": sorted(SAVED)}, evaluation={"samples": 1}
    )
    result = trained(spec, data, tmp_path)
    weights = adapter_of(result)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    whole = {name.split(".")[-2] for name in weights if "lora_" not in name}
    assert whole == SAVED
    assert all(torch.any(weights[name] != weights[name].bfloat16()) for name in weights if "lora_" not in name)
    assert result.loss_after is not None and result.loss_before is not None
