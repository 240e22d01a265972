"""VRAM as predicted, against what a GPU allocated: the lines that `bench/gpu/run.sh` wrote on an H200."""

import json
from typing import Any

import pytest

from job.errors import UsageInvalid
from job.plan import describe
from job.predict import vram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.gpus import GPUS
from job.spec import JobSpec
from tests import ROOT
from tests.job.predict.sizes import SIZES, published

MEASURED = [json.loads(line) for line in (ROOT / "bench/gpu/results/2026-11-27-h200.jsonl").read_text().splitlines()]
WIDE = published(4096, 4, 14_336, 32) | {"num_key_value_heads": 8, "vocab_size": 128_256}
CAST: dict[str, Any] = {"load": {"frozen_dtype": "float32"}, "training": {"gradient_checkpointing": True}}
FROZEN: dict[str, Any] = CAST | {"load": {"frozen_dtype": "compute"}}
ALL_LINEAR: dict[str, Any] = {"lora": {"target_modules": "all-linear", "r": 16}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "job fp16": (SIZES["7B"][0], CAST | {"training": {"fp16": True}}),
    "job bf16": (SIZES["7B"][0], CAST),
    "recipe": (SIZES["7B"][0], CAST),
    "recipe, without Triton": (SIZES["7B"][0], CAST),
    "all-linear, r 16": (SIZES["7B"][0], CAST | ALL_LINEAR),
    "frozen weights in 16 bits": (SIZES["7B"][0], FROZEN),
    "frozen weights in 16 bits, all-linear, r 16": (SIZES["7B"][0], FROZEN | ALL_LINEAR),
    "wide": (WIDE, CAST),
    "wide, without Triton": (WIDE, CAST),
    "wide, without checkpointing": (WIDE, CAST | {"training": {"gradient_checkpointing": False}}),
}


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


def line_of(case: str) -> dict[str, Any]:
    return next(line for line in MEASURED if line["case"] == case)


@pytest.mark.parametrize("case", CASES)
def test_what_an_h200_allocated_is_within_5_percent_of_the_prediction(case: str) -> None:
    """A GPU counts no context."""
    config, sections = CASES[case]
    line = line_of(case)
    needed = vram.vram(spec(**sections), anatomy_of(config, case), capability=(9, 0), triton=line["triton"])
    assert 0.98 <= (needed.total - needed.context) / line["allocated"] <= 1.05


@pytest.mark.parametrize(("case", "config"), [("job fp16", SIZES["7B"][0]), ("wide", WIDE)])
def test_loading_took_what_is_predicted(case: str, config: dict[str, Any]) -> None:
    """The weights, and a 16-bit embedding whose float32 copy is made; the adapter was there too."""
    needed = vram.vram(spec(**CAST), anatomy_of(config, case), capability=(9, 0))
    adapter = vram.trainable(spec(), anatomy_of(config, case)) * 4
    assert needed.loaded - needed.context + adapter == pytest.approx(line_of(case)["load_peak"], rel=0.005)


def of_8b(model_type: str) -> Anatomy:
    feed_forward, layers, words = {"llama": (14_336, 32, 128_256), "qwen3": (12_288, 36, 151_936)}[model_type]
    shape = published(4096, layers, feed_forward, 32) | {"num_key_value_heads": 8, "head_dim": 128}
    return anatomy_of(shape | {"model_type": model_type, "vocab_size": words}, model_type)


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_an_8b_model_with_adapters_on_all_layers_fits_a_t4(model_type: str) -> None:
    """Llama-3.1-8B and Qwen3-8B. Qwen3 is not known to fit float16, so its embeddings and norms are cast."""
    asked, model = spec(**ALL_LINEAR), of_8b(model_type)
    needed = vram.vram(asked, model, capability=GPUS["t4"].capability)
    assert needed.total < GPUS["t4"].memory
    newer = vram.vram(asked, model, capability=GPUS["l4"].capability)
    assert (needed.total == newer.total) == (model_type == "llama")


def test_gradients_that_accumulate_stay_beside_the_activations() -> None:
    model = of_8b("llama")
    once, twice = (
        vram.vram(spec(training={"gradient_accumulation_steps": steps}, **ALL_LINEAR), model) for steps in (1, 2)
    )
    assert twice.adapter - once.adapter == 4 * vram.trainable(spec(**ALL_LINEAR), model)


def gemma(tmp_path: Any) -> str:
    shape = {"hidden_size": 640, "num_hidden_layers": 18, "intermediate_size": 2048, "num_attention_heads": 4}
    config = shape | {"model_type": "gemma3_text", "num_key_value_heads": 1, "head_dim": 256, "vocab_size": 262_144}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_the_plan_says_that_a_family_which_overflows_is_computed_in_float32_on_a_t4(tmp_path: Any) -> None:
    asked = spec(model={"id": gemma(tmp_path)})
    on_t4, on_l4 = describe(asked, "t4"), describe(asked, "l4")
    assert "# computes in float32, with embeddings and norms in float32" in on_t4
    assert "# gemma3_text overflows in float16" in on_t4
    assert "# computes in bfloat16 (autocast: bfloat16), with embeddings and norms in bfloat16" in on_l4
    assert "overflows" not in on_l4
    assert "on a GPU of compute capability 8.0 or higher" in describe(asked)
    with pytest.raises(UsageInvalid):
        describe(asked, "k80")
