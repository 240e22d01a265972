"""The train stage: every way to load and adapt trains, and what cannot train is refused."""

import json
import shutil
from pathlib import Path

import pytest

from job.errors import QualityRejected, SpecInvalid
from tests.job.train.trainers import adapter_of, spec_of, trained

pytestmark = pytest.mark.slow


WAYS = {
    "nf4 with double quantization": {"load": {"double_quant": True}},
    "fp4": {"load": {"quant_type": "fp4"}},
    "8 bits": {"load": {"bits": 8}},
    "16 bits": {"load": {"bits": 16}},
    "32 bits": {"load": {"bits": 32}},
    "rsLoRA on all linear layers": {"lora": {"use_rslora": True, "target_modules": "all-linear"}},
    "DoRA": {"lora": {"use_dora": True}},
    "saved modules": {"lora": {"modules_to_save": ["lm_head"]}},
    "packing": {"training": {"packing": True}},
    "left padding": {"training": {"padding_side": "left", "pad_token": "<unk>"}},
    "without gradient checkpointing": {"training": {"gradient_checkpointing": False}},
    "plain attention": {"training": {"attn_implementation": "eager"}},
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_train_moves_float32_adapters(tiny_model: Path, data: Path, tmp_path: Path, way: str) -> None:
    import torch

    result = trained(spec_of(tiny_model, **WAYS[way]), data, tmp_path)
    weights = adapter_of(result)
    moved = [name for name, weight in weights.items() if "lora_B" in name and weight.abs().max() > 0]
    assert moved
    assert {weight.dtype for name, weight in weights.items() if "lora_" in name} == {torch.float32}
    config = json.loads((result.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == tiny_model.name
    assert result.loss_before is not None and result.loss_after is not None
    assert list(result.logs.rglob("events.out.tfevents.*"))


@pytest.mark.parametrize("kind", ["prompt_completion", "messages"])
def test_pairs_and_chats_train_and_show_samples(tiny_model: Path, data: Path, tmp_path: Path, kind: str) -> None:
    spec = spec_of(tiny_model, evaluation={"samples": 2, "max_new_tokens": 3})
    result = trained(spec, data, tmp_path, kind)
    assert len(result.samples) == 2
    assert all(set(sample) == {"prompt", "before", "after", "reference"} for sample in result.samples)


def test_recomputed_activations_change_no_result(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    made = [trained(spec_of(tiny_model), data, tmp_path / str(n), recompute_every=n) for n in (1, 0, 2)]
    assert made[0].losses == made[1].losses == made[2].losses
    name = "adapter_model.safetensors"
    assert len({(one.adapter / name).read_bytes() for one in made}) == 1


@pytest.mark.parametrize(("every", "blocks"), [(0, 0), (1, 2), (2, 1)])
def test_as_many_blocks_recompute_their_activations_as_is_asked(
    tiny_model: Path, data: Path, tmp_path: Path, every: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import modeling_utils

    calls, recompute = [], modeling_utils.checkpoint
    monkeypatch.setattr(modeling_utils, "checkpoint", lambda *a, **o: calls.append(1) or recompute(*a, **o))
    spec = spec_of(tiny_model, training={"max_steps": 1}, evaluation={"judge": False, "samples": 0})
    trained(spec, data, tmp_path, recompute_every=every)
    assert len(calls) == blocks, "of the two blocks of this model"


def test_half_the_micro_batch_keeps_the_effective_batch(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, lora={"dropout": 0.0}, training={"group_by_length": False})
    whole = trained(spec, data, tmp_path / "a")
    halved = trained(spec, data, tmp_path / "b", micro_batch=1)
    assert [one["loss"] for one in halved.losses] == pytest.approx([one["loss"] for one in whole.losses], abs=1e-4)


def test_a_loss_that_is_no_number_ends_the_run(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QualityRejected, match="nan at step 1"):
        trained(spec_of(broken), data, tmp_path / "work")


def test_chats_without_a_template_say_what_to_set(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(tiny_model, tmp_path / "bare")
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    path = bare / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("chat_template", None)
    path.write_text(json.dumps(config))
    with pytest.raises(SpecInvalid, match=r"chat\.template"):
        trained(spec_of(bare), data, tmp_path / "work", "messages")
    template = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    result = trained(spec_of(bare, chat={"template": template}), data, tmp_path / "work", "messages")
    assert result.steps == 2
