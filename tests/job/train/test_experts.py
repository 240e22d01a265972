"""Experts are quantized with `load.bits: 4`, although their weights are one tensor for all of them."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import bitsandbytes.functional as bnb
import pytest
import torch

from job.export import stage as export_stage
from job.train import experts as quantized_experts
from job.train import stage as train_stage
from job.train.model import count_parameters, load_base, save_adapter, with_adapter
from job.train.targets import experts
from tests.export_reference import load, tensors
from tests.families.configs import make
from tests.job.train.trainers import ON_THE_CPU, inputs_of, spec_of

pytestmark = pytest.mark.slow

FAMILIES = ["Mixtral", "Qwen 3, experts", "Granite, experts"]
KINDS = {"nf4": {}, "fp4": {"quant_type": "fp4"}, "double": {"double_quant": True}}
IDS = torch.arange(3, 51).reshape(2, 24)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {family: make(family, folder / str(number)) for number, family in enumerate(FAMILIES)}


def packed(model: Any) -> list[tuple[torch.Tensor, Any]]:
    found = quantized_experts.quantized(model).values()
    return [(one.original, one[0].quant_state) for of in found for one in of.parametrizations.values()]


@pytest.mark.parametrize("family", FAMILIES)
def test_they_take_little_more_than_a_quarter_of_what_16_bits_take(family: str, models: dict[str, Path]) -> None:
    model = load_base(spec_of(models[family]), models[family], ON_THE_CPU)
    assert not experts(model)
    plain = load(models[family])
    in_16_bits = sum(2 * weight.numel() for weight in experts(plain).values())
    taken = sum(weight.nbytes + state.absmax.nbytes for weight, state in packed(model))
    assert in_16_bits / 4 < taken < in_16_bits * 0.3
    adapted = with_adapter(spec_of(models[family]), model, None)
    trained, total = count_parameters(adapted)
    assert total - trained == plain.num_parameters()


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_quantized_as_they_are_loaded(
    family: str, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two of them are there in full at a time."""
    quantize, seen = bnb.quantize_4bit, []

    def counting(weight: torch.Tensor, **options: Any) -> Any:
        if weight.ndim == 3:
            alive = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
            seen.append(len({one.data_ptr() for one in alive if one.ndim == 3 and one.dtype == weight.dtype}))
        return quantize(weight, **options)

    monkeypatch.setattr(bnb, "quantize_4bit", counting)
    load_base(spec_of(models[family]), models[family], ON_THE_CPU)
    assert seen == [2] * 8  # and what is not loaded yet, which has no address


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_what_four_bits_stand_for(family: str, kind: str, models: dict[str, Path]) -> None:
    spec = spec_of(models[family], load=KINDS[kind])
    model = load_base(spec, models[family], ON_THE_CPU)
    expected = load(models[family], dtype=torch.float32)
    for name, weight in [*experts(expected).items(), *layers(expected).items()]:
        stored, state = bnb.quantize_4bit(
            weight.data, quant_type=spec.load.quant_type, compress_statistics=spec.load.double_quant
        )
        weight.data = bnb.dequantize_4bit(stored, state)
        assert weight.data.isfinite().all(), name
    with torch.no_grad():
        losses = [one(input_ids=IDS, labels=IDS).loss.item() for one in (model.eval(), expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def layers(model: torch.nn.Module) -> dict[str, Any]:
    return {n: m.weight for n, m in model.named_modules() if type(m) is torch.nn.Linear and n != "lm_head"}


def rows(path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": f"The quick fox number {n} jumps over {n}"}) + "\n" for n in range(12)))
    return path


def train(model: Path, folder: Path, resume_from: Path | None = None, **training: Any) -> train_stage.Result:
    spec = spec_of(model, training={"max_steps": 4, "save_steps": 2, "learning_rate": 0.01} | training)
    found = rows(folder.with_suffix(".jsonl"))
    given = inputs_of(spec, model, folder / "tokens", found, found)
    given = given.model_copy(update={"resume_from": resume_from, "recompute_every": None})
    return train_stage.run(spec, given, folder)


@pytest.mark.parametrize("family", FAMILIES[:2])
def test_a_training_through_them_learns_resumes_and_needs_no_checkpointing(
    family: str, models: dict[str, Path], tmp_path: Path
) -> None:
    whole = train(models[family], tmp_path / "whole")
    assert whole.loss_before and whole.loss_after and whole.loss_after < whole.loss_before - 0.01
    kept = shutil.copytree(tmp_path / "whole" / "checkpoints" / "checkpoint-2", tmp_path / "checkpoint-2")
    assert train(models[family], tmp_path / "resumed", kept).losses == whole.losses
    assert train(models[family], tmp_path / "kept", gradient_checkpointing=False).losses == whole.losses


def test_layers_with_the_names_of_experts_get_adapters_and_experts_get_none(tmp_path: Path) -> None:
    folder = make("Qwen 2, experts", tmp_path / "model")
    spec = spec_of(folder, lora={"target_modules": "all-linear"})
    names = []
    for adapter in (None, tmp_path / "adapter"):
        model = with_adapter(spec_of(folder) if adapter else spec, load_base(spec, folder, ON_THE_CPU), adapter)
        names.append({name for name, _ in model.named_parameters() if "lora_" in name})
        save_adapter(spec, model, tmp_path / "adapter")
    assert names[0] == names[1] and any("shared_expert.down_proj" in name for name in names[0])
    assert not any("parametrizations" in name for name in names[0])


def test_no_dequantized_experts_are_kept_for_the_backward_pass(models: dict[str, Path]) -> None:
    spec = spec_of(models["Mixtral"])
    model = with_adapter(spec, load_base(spec, models["Mixtral"], ON_THE_CPU), None)
    size = min(2 * original.numel() for original, _ in packed(model))

    def kept() -> int:
        sizes: list[int] = []

        def note(saved: torch.Tensor) -> None:  # a graph that holds its own results is never freed
            sizes.append(saved.untyped_storage().nbytes() // saved.element_size())

        with torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
            model(input_ids=IDS, labels=IDS)
        return sum(one == size for one in sizes)

    assert kept()
    quantized_experts.recompute(model)
    assert not kept()


@pytest.mark.parametrize("family", FAMILIES[:2])
def test_the_export_has_the_experts_of_the_original(family: str, models: dict[str, Path], tmp_path: Path) -> None:
    def exported(adapter: Path | None) -> dict[str, Any]:
        spec = spec_of(models[family], export={"dtype": "f32"})
        given = export_stage.Inputs(model=models[family], adapter=adapter, name="tiny")
        return tensors(export_stage.run(spec, given, tmp_path / str(bool(adapter))).gguf)

    trained, base = exported(train(models[family], tmp_path / "run").adapter), exported(None)
    assert [name for name in base if "_exps" in name] and sorted(base) == sorted(trained)
    changed = [name for name in base if base[name] != trained[name]]
    assert len(changed) == 8 and all("attn_" in name for name in changed)
