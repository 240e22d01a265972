"""Sizes counted from a model's tensors: beside the formulas of the families that have some, and what torch keeps."""

import json
from typing import Any

import pytest

from job.architectures import auto_class_of
from job.errors import SpecInvalid
from job.predict import activations, vram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.counted import Counted, counted
from job.predict.gpus import GPUS
from job.predict.prediction import Prediction, predict
from job.predict.timing import Machine
from job.safetensors_files import Tensor
from job.spec.precision import precision_of
from tests.families.configs import FAMILIES, IDS, SIZES, Family
from tests.job.predict.families import config_of, saved_by_block, spec
from tests.job.predict.mixture import MOE, moe_tensors
from tests.tiny_families import FAMILIES as FORMULAS


def of_class(config: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A model's tensors, as transformers builds it, and its config.json."""
    import torch

    with torch.device("meta"):
        model = auto_class_of(config.model_type).from_config(config)
    tensors = {name: Tensor("BF16", tuple(weight.shape)) for name, weight in model.named_parameters()}
    return tensors, json.loads(config.to_json_string())


def test_all_experts_of_a_model_are_held_and_those_of_a_token_take_time() -> None:
    model = counted(moe_tensors(), MOE, "a/b")
    assert model.parameters / 1e9 == pytest.approx(30.53, abs=0.01)
    active = model.active_parameters + model.embedding_parameters
    assert active / 1e9 == pytest.approx(3.3, abs=0.1)
    assert model.stored_bytes == 2 * model.parameters
    assert model.largest_tensor == 2 * 128 * 768 * 2048  # as transformers stacks them
    found = predict(spec(training={"max_steps": 100}), model, Machine(GPUS["a100-80"]))
    assert found.vram and 17e9 < found.vram.weights < 19e9  # experts are quantized, embeddings are not
    assert found.vram.block > 2 * model.expert_parameters / model.layers  # those of a block are dequantized
    dense = predict(spec(training={"max_steps": 100}), dense_of_30b(), Machine(GPUS["a100-80"]))
    assert found.seconds["train"].most and dense.seconds["train"].most
    assert found.seconds["train"].most < dense.seconds["train"].most / 2
    assert found.sizes.unquantized == pytest.approx(2 * model.parameters, rel=0.01)


def dense_of_30b() -> Anatomy:
    sizes = {"hidden_size": 6656, "num_hidden_layers": 60, "intermediate_size": 17920, "num_attention_heads": 52}
    return anatomy_of(sizes | {"model_type": "llama", "vocab_size": 32_000, "tie_word_embeddings": False}, "30B")


def numbers(found: Prediction) -> dict[str, float]:
    """Everything that is predicted in bytes."""
    assert found.vram
    values = {f"vram {name}": size for name, size in found.vram.model_dump().items()} | {"vram": found.vram.total}
    values |= {f"ram {name}": size for name, size in found.ram.items()}
    return values | {f"disk {name}": size for name, size in found.disk.items()}


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{}, {"target_modules": "all-linear"}], ids=str)
@pytest.mark.parametrize("family", FORMULAS)
def test_what_is_counted_is_never_below_a_familys_own_formulas_and_near_them(family: str, lora: dict[str, Any]) -> None:
    tensors, config = of_class(config_of(family))
    model, known = counted(tensors, config, family), anatomy_of(config, family)
    assert (model.parameters, model.linear_parameters) == (known.parameters, known.linear_parameters)
    if known.fused and not lora:
        lora = {"target_modules": ["qkv_proj"]}
    asked = spec(lora=lora, training={"max_steps": 100})
    machine = Machine(GPUS["l4"])
    counts = predict(asked, model, machine, exact=False)
    formulas = predict(asked, known, machine)  # with llama-quantize's own sizes, of which the count knows a bound
    assert counts.trainable == formulas.trainable
    for name, value in numbers(formulas).items():
        assert value <= numbers(counts)[name] <= 1.35 * value + 3e6, name
    for stage, seconds in formulas.seconds.items():
        most = counts.seconds[stage].most
        assert most is not None and seconds.most is not None and 0.99 * seconds.most <= most <= 1.3 * seconds.most + 1


MORE = {
    "Qwen 3 Next": Family("qwen3_next", fields={
        "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256, "linear_num_value_heads": 8,
        "shared_expert_intermediate_size": 256, "linear_num_key_heads": 4, "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
    }),
    "Granite 4, hybrid": Family("granitemoehybrid", fields={
        "mamba_n_heads": 16, "mamba_d_head": 64, "mamba_d_state": 64, "mamba_chunk_size": 64, "mamba_expand": 2,
        "layer_types": ["mamba", "attention"] * 2, "num_local_experts": 4, "num_experts_per_tok": 2,
        "shared_intermediate_size": 512,
    }),
    "GLM 4.5": Family("glm4_moe", fields={
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256,
    }),
    "GPT-NeoX": Family("gpt_neox"),
    "GPT-2": Family("gpt2", fields={"n_embd": 512, "n_head": 8, "n_layer": 4}),
    "Bloom": Family("bloom", fields={"n_head": 8, "n_layer": 4}),
}  # fmt: skip
WIDE: dict[str, Any] = {
    "hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2,
    "vocab_size": 512, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SHAPES = {"moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "head_dim": 64}
SHAPES |= {"mamba_d_ssm": 1024, "mamba_d_head": 64, "mamba_n_heads": 16, "num_key_value_heads": 8}


def wide(family: Family) -> Any:
    """A config of the family that is wide enough for what is counted to outweigh what is not."""
    import transformers

    fields = SIZES | IDS[family.tokenizer] | family.fields | WIDE
    if family in FAMILIES.values():
        fields |= {name: size for name, size in SHAPES.items() if name in family.fields}
    return transformers.AutoConfig.for_model(family.model_type, **fields)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [{}, {"target_modules": "all-linear"}], ids=str)
@pytest.mark.parametrize("name", [name for name in FAMILIES | MORE if not (FAMILIES | MORE)[name].vision])
def test_no_block_of_any_family_keeps_more_than_is_counted(name: str, lora: dict[str, Any]) -> None:
    from job.train.model import with_adapter

    family = (FAMILIES | MORE)[name]
    config = wide(family)
    tensors, fields = of_class(config)
    model: Counted = counted(tensors, fields, name)
    steps = {"per_device_train_batch_size": 2, "max_length": 64, "gradient_checkpointing": False}
    asked = spec(lora=lora, load={"bits": 32}, training=steps)
    peft = with_adapter(asked, auto_class_of(family.model_type).from_config(config), None).train()
    held = activations.block(asked, model, activations.widths(asked, precision_of(asked, [family.model_type], None)))
    most = max(saved_by_block(peft, number) for number in (2, 3))  # of two kinds, if it has two
    assert most <= held <= (6 if family.model_type == "nemotron_h" else 3) * most  # its blocks are of one layer each
    trained = peft.get_nb_trainable_parameters()[0]
    assert trained <= vram.trainable(asked, model) <= 3 * trained
    assert model.parameters == sum(one.elements for one in tensors.values())


def test_tensors_that_are_not_a_language_models_are_not_counted() -> None:
    with pytest.raises(SpecInvalid, match="no names that a language model's have"):
        counted({"weight": Tensor("F32", (4, 4))}, {"model_type": "new"}, "a/b")
