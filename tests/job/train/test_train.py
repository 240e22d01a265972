"""The train stage: every way to load, adapt and stop."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.errors import EnvironmentUnfit, QualityRejected, SpecInvalid
from job.spec import JobSpec
from job.train import precision
from job.train import stage as train_stage
from job.train.model import load_base, with_adapter
from tests import forks
from tests.export_reference import make_adapter
from tests.job.train import trainers
from tests.job.train.trainers import ON_THE_CPU, spec_of

pytestmark = pytest.mark.slow


def write(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    words = ["time", "life", "love", "truth", "hope", "work", "art", "mind", "soul", "sea"]
    text = [{"text": f"Of {a} and {words[n % 7]}, {a} is the greater, said {n}."} for n, a in enumerate(words * 2)]
    pairs = [{"prompt": f"What is {word}? ", "completion": f"{word} is {word}."} for word in words * 2]
    chats = [
        {"messages": [{"role": "user", "content": f"{w}?"}, {"role": "assistant", "content": f"Yes, {w}."}]}
        for w in words * 2
    ]
    for kind, found in (("text", text), ("prompt_completion", pairs), ("messages", chats)):
        write(folder / f"{kind}.jsonl", found[:16])
        write(folder / f"{kind}-eval.jsonl", found[16:])
    return folder


def inputs_of(
    spec: JobSpec, data: Path, folder: Path, kind: Any = "text", held_out: Path | None = None, **more: Any
) -> train_stage.Inputs:
    rows = [data / f"{kind}.jsonl", held_out or data / f"{kind}-eval.jsonl"]
    return trainers.inputs_of(spec, Path(spec.model.id), folder / "tokens", *rows, kind, **more)


def trained(spec: JobSpec, data: Path, folder: Path, *args: Any, **more: Any) -> train_stage.Result:
    return train_stage.run(spec, inputs_of(spec, data, folder, *args, **more), folder)


def adapter_of(result: train_stage.Result) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(result.adapter / "adapter_model.safetensors")
    return weights


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


def test_the_same_spec_gives_the_same_adapter_and_starting_from_one_continues(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    first = trained(spec_of(tiny_model), data, tmp_path / "a")
    second = trained(spec_of(tiny_model), data, tmp_path / "b")
    name = "adapter_model.safetensors"
    assert (first.adapter / name).read_bytes() == (second.adapter / name).read_bytes()
    third = trained(spec_of(tiny_model), data, tmp_path / "c", adapter=first.adapter)
    assert third.loss_before == pytest.approx(first.loss_after, abs=1e-5)


def test_a_resumed_training_has_the_losses_of_an_undisturbed_one(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    def spec(**more: Any) -> JobSpec:
        return spec_of(tiny_model, training={"max_steps": 20, "save_steps": 4, "save_total_limit": 9} | more)

    whole = trained(spec(), data, tmp_path / "whole")
    for step in (8, 12):  # the end of an epoch, and the middle of the second
        kept = tmp_path / f"checkpoint-{step}"
        shutil.copytree(tmp_path / "whole" / "checkpoints" / kept.name, kept)
        resumed = trained(spec(), data, tmp_path / "resumed", resume_from=kept)
        assert resumed.losses == whole.losses
        assert resumed.loss_after == whole.loss_after


def test_a_checkpoint_of_the_last_step_needs_no_more_training(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, training={"max_steps": 4, "save_steps": 2})
    whole = trained(spec, data, tmp_path / "whole")
    kept = shutil.copytree(tmp_path / "whole" / "checkpoints" / "checkpoint-4", tmp_path / "kept")
    again = trained(spec, data, tmp_path / "again", resume_from=kept)
    assert again.losses == whole.losses
    name = "adapter_model.safetensors"
    assert (again.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def test_the_best_checkpoint_travels_with_later_ones(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    training = {"max_steps": 8, "save_steps": 2, "eval_steps": 2, "load_best_model_at_end": True, "save_total_limit": 9}
    spec = spec_of(tiny_model, training=training | {"learning_rate": 1.0, "lr_scheduler_type": "constant"})
    strange = write(tmp_path / "strange.jsonl", [{"text": "ζξ§ ψω ¶¤ ξξζ"}])  # gets worse as the model learns English
    inputs = inputs_of(spec, data, tmp_path, held_out=strange)
    whole = train_stage.run(spec, inputs, tmp_path / "whole")
    kept = shutil.copytree(tmp_path / "whole" / "checkpoints" / "checkpoint-6", tmp_path / "kept")
    shutil.rmtree(tmp_path / "whole" / "checkpoints")
    resumed = train_stage.run(spec, inputs.model_copy(update={"resume_from": kept}), tmp_path / "elsewhere")
    assert resumed.loss_after == whole.loss_after
    assert whole.loss_after == pytest.approx(min(one["eval_loss"] for one in whole.evals), abs=1e-5)


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


def test_the_best_checkpoint_is_taken_and_patience_ends(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    training = {
        "max_steps": 12,
        "save_steps": 2,
        "eval_steps": 2,
        "learning_rate": 2e-2,  # larger ones are chaotic: where they end depends on the CPU
        "max_grad_norm": 0,
        "lr_scheduler_type": "constant",
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
    }
    strange = write(tmp_path / "strange.jsonl", [{"text": "ζξ§ ψω ¶¤ ξξζ"}])  # gets worse as the model learns English
    result = trained(spec_of(tiny_model, training=training), data, tmp_path / "work", held_out=strange)
    assert result.steps < 12
    assert result.loss_after == pytest.approx(min(one["eval_loss"] for one in result.evals), abs=1e-5)


def test_a_loss_that_is_no_number_ends_the_run(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(QualityRejected, match="nan at step 1"):
        trained(spec_of(broken), data, tmp_path / "work")


def test_unknown_modules_are_named_with_those_that_exist(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"query_key_value(.|\n)*k_proj, o_proj, q_proj"):
        spec = spec_of(tiny_model, lora={"target_modules": ["query_key_value"]})
        trained(spec, data, tmp_path)


def test_an_adapter_that_the_trainer_would_not_train_is_refused(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    head = {"lora": {"target_modules": ["q_proj", "lm_head"]}}
    with pytest.raises(SpecInvalid, match=r"cannot train an adapter on the output layer"):
        trained(spec_of(tiny_model, **head), data, tmp_path)
    other = spec_of(tiny_model, training={"trainer": "transformers"}, **head)
    assert trained(other, data, tmp_path).losses


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


@pytest.mark.parametrize("when", ["loading", "training"])
def test_sigterm_saves_a_checkpoint_or_says_that_there_is_none(
    tiny_model: Path, data: Path, tmp_path: Path, when: str
) -> None:
    spec = spec_of(tiny_model, training={"max_steps": 5000, "save_steps": 4000})
    inputs = inputs_of(spec, data, tmp_path)
    given = {"spec": spec.model_dump(mode="json"), "inputs": inputs.model_dump(mode="json")}
    (tmp_path / "inputs.json").write_text(json.dumps(given))
    child = subprocess.Popen(
        [forks.python(), "-m", "job", "stage", "train", str(tmp_path), "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.stdout
    wanted = '"train.log"' if when == "training" else '"train.loading_model"'
    for line in child.stdout:
        if wanted in line:
            child.send_signal(signal.SIGTERM)
            break
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait() == (75 if when == "training" else 76), rest
    assert not (tmp_path / "result.json").exists()
    assert bool(list((tmp_path / "checkpoints").glob("checkpoint-*"))) == (when == "training")


@pytest.mark.parametrize(
    ("lora", "refused"),
    [
        ({"r": 4, "target_modules": ["v_proj", "k_proj"]}, ""),
        ({"r": 8}, ""),  # the default, as if it were left out
        ({"r": 16}, r"lora\.r: 16, but the adapter me/adapter has 4"),
        ({"dropout": 0.5}, r"lora\.dropout"),
        ({"target_modules": "all-linear"}, r"lora\.target_modules: .*o_proj"),
        ({"use_dora": True}, r"lora\.use_dora"),
    ],
    ids=str,
)
def test_an_adapter_to_start_from_keeps_its_settings_and_others_are_refused(
    tiny_model: Path, tmp_path: Path, lora: dict[str, Any], refused: str
) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "adapter", r=4, target_modules=["k_proj", "v_proj"])
    spec = spec_of(tiny_model, lora=lora)
    spec = spec.model_copy(update={"model": spec.model.model_copy(update={"adapter": "me/adapter"})})
    base = load_base(spec, tiny_model, ON_THE_CPU)
    if refused:
        with pytest.raises(SpecInvalid, match=refused):
            with_adapter(spec, base, adapter)
    else:
        assert with_adapter(spec, base, adapter).peft_config["default"].r == 4
