"""Exports compared, tensor by tensor, with PEFT's merge_and_unload and llama.cpp's own converter."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jinja2 import Template

from job.chat import portable as portable_templates
from tests.export_reference import (
    converted,
    exported,
    job_metadata,
    load,
    make_adapter,
    merged_by_peft,
    metadata,
    tensors,
    with_adapter,
)
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("tied"), tied=True, seed=3)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter"))


BASES: dict[str, dict[str, Any]] = {
    "one shard": {},
    "four shards": {"shards": 4},
    "tied": {"tied": True},
    "float16": {"dtype": "float16"},
    "float32": {"dtype": "float32"},
    "with biases": {"attention_bias": True},
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "LoRA": ("one shard", {}),
    "LoRA on two modules": ("one shard", {"target_modules": ["q_proj", "v_proj"], "lora_alpha": 32}),
    "LoRA, many shards": ("four shards", {}),
    "LoRA, tied embeddings": ("tied", {}),
    "LoRA, a float16 model": ("float16", {}),
    "LoRA, a float32 model": ("float32", {}),
    "rsLoRA": ("one shard", {"use_rslora": True}),
    "DoRA": ("one shard", {"use_dora": True}),
    "DoRA, many shards": ("four shards", {"use_dora": True}),
    "DoRA with rsLoRA, tied": ("tied", {"use_dora": True, "use_rslora": True}),
    "ranks and alphas by pattern": (
        "one shard",
        {"rank_pattern": {"q_proj": 4, "layers.1.mlp.down_proj": 16}, "alpha_pattern": {"v_proj": 64}},
    ),
    "some layers, and some modules not": (
        "one shard",
        {
            "target_modules": ["q_proj", "down_proj", "o_proj"],
            "layers_to_transform": [1],
            "exclude_modules": ["o_proj"],
        },
    ),
    "saved embeddings": ("one shard", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved embeddings, tied": ("tied", {"modules_to_save": ["embed_tokens", "lm_head"]}),
    "saved output embedding, tied": ("tied", {"modules_to_save": ["lm_head"]}),
    "saved input embedding, tied": ("tied", {"modules_to_save": ["embed_tokens"]}),
    "saved embeddings, kept tied": ("tied", {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}),
    "saved norms": ("four shards", {"modules_to_save": ["norm"]}),
    "LoRA on the embeddings": ("one shard", {"target_modules": ["embed_tokens", "lm_head", "k_proj"]}),
    "trained tokens": ("one shard", {"trainable_token_indices": {"embed_tokens": [5, 300, 1535]}}),
    "trained tokens, tied": ("tied", {"trainable_token_indices": [5, 300, 1535]}),
    "trained biases": ("with biases", {"bias": "all"}),
    "biases of LoRA's own": (
        "with biases",
        {"lora_bias": True, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_is_bit_for_bit_what_peft_merges_in_float32_and_the_converter_writes(
    case: str, tmp_path: Path
) -> None:
    """For a base in 16 bits as well: the merge is not rounded to the base's dtype."""
    kind, config = CASES[case]
    model = make_llama(tmp_path / "base", **BASES[kind])
    adapter = make_adapter(model, tmp_path / "adapter", **config)
    merged = merged_by_peft(model, adapter, tmp_path / "merged", dtype=torch.float32)
    for dtype in ("f16", "f32"):
        expected = tensors(converted(merged, tmp_path / f"peft-{dtype}.gguf", dtype))
        result = exported(model, adapter, tmp_path / dtype, export={"dtype": dtype})
        got = tensors(result.gguf)
        assert sorted(got) == sorted(expected)
        assert [name for name in got if got[name] != expected[name]] == []
        assert got != tensors(converted(model, tmp_path / f"base-{dtype}.gguf", dtype))
        assert (result.tensors, result.size) == (len(got), result.gguf.stat().st_size)


def test_a_file_in_bf16_is_what_the_converter_writes(base: Path, adapter: Path, tmp_path: Path) -> None:
    expected = tensors(converted(merged_by_peft(base, adapter, tmp_path / "merged"), tmp_path / "peft.gguf", "bf16"))
    assert tensors(exported(base, adapter, tmp_path / "out", export={"dtype": "bf16"}).gguf) == expected


def test_a_file_is_as_near_to_the_adapter_beside_its_base_as_its_type_allows(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """The base is in bfloat16, to which PEFT would round."""

    def error(dtype: str) -> float:
        kind, _, data = tensors(exported(base, adapter, tmp_path / dtype, export={"dtype": dtype}).gguf)[
            "blk.0.ffn_down.weight"
        ]
        types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
        values = torch.frombuffer(bytearray(data), dtype=types[kind])
        return float((values.double() - exact.reshape(-1)).abs().max())

    layer = with_adapter(base, adapter).base_model.model.model.layers[0].mlp.down_proj
    a, b = (of["default"].weight.detach().double() for of in (layer.lora_A, layer.lora_B))
    exact = layer.base_layer.weight.detach().double() + layer.scaling["default"] * b @ a
    assert error("f16") < error("bf16") / 7
    assert error("f32") < error("f16") / 1000


def test_without_an_adapter_the_model_is_converted_as_it_is(base: Path, tmp_path: Path) -> None:
    expected = converted(base, tmp_path / "base.gguf")
    got = exported(base, None, tmp_path / "out").gguf
    assert tensors(got) == tensors(expected)
    assert metadata(got) == job_metadata(expected)


@pytest.mark.parametrize("quantized", [{}, {"double_quant": True}, {"quant_type": "fp4"}])
def test_merging_into_the_quantized_base_starts_from_what_four_bits_stand_for(
    quantized: dict[str, Any], base: Path, adapter: Path, tmp_path: Path
) -> None:
    import bitsandbytes as bnb

    sections = {"load": quantized, "export": {"dtype": "f32", "merge_base": "quantized", "merged": True}}
    result = exported(base, adapter, tmp_path / "out", **sections)
    assert result.merged is not None
    merged, peft = load(result.merged).state_dict(), with_adapter(base, adapter)
    for name, module in peft.base_model.model.named_modules():
        if name.endswith(("q_proj", "down_proj")):
            weight = module.base_layer.weight.data
            layer = bnb.nn.Linear4bit(
                weight.shape[1], weight.shape[0], bias=False, compute_dtype=weight.dtype,
                quant_type=quantized.get("quant_type", "nf4"), compress_statistics=quantized.get("double_quant", False),
            )  # fmt: skip
            layer.weight = bnb.nn.Params4bit(
                weight, requires_grad=False, quant_type=layer.weight.quant_type,
                compress_statistics=layer.weight.compress_statistics,
            ).to("cpu")  # fmt: skip
            layer.to("cpu")
            stands_for = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            expected = (stands_for + module.get_delta_weight("default")).to(weight.dtype)
            assert torch.equal(merged[f"{name}.weight"], expected), name
    assert torch.equal(merged["lm_head.weight"], load(base).lm_head.weight)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("config", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_the_merged_safetensors_are_those_of_merge_and_unload(
    shards: int, config: dict[str, Any], tied_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shards > 1:
        monkeypatch.setattr("job.export.merged_folder.SHARD_BYTES", 1_500_000)
    adapter = make_adapter(tied_base, tmp_path / "adapter", **config)
    expected = load(merged_by_peft(tied_base, adapter, tmp_path / "peft"))
    result = exported(tied_base, adapter, tmp_path / "out", export={"dtype": "bf16", "merged": True})
    assert result.merged is not None
    got = load(result.merged)
    assert {k: v.dtype for k, v in got.state_dict().items()} == {k: v.dtype for k, v in expected.state_dict().items()}
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in got.state_dict().items())
    assert got.config.tie_word_embeddings == expected.config.tie_word_embeddings
    files = {path.name for path in result.merged.iterdir()}
    assert ("model.safetensors" in files) == (shards == 1)
    assert {"config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json"} <= files
    if shards > 1:
        index = json.loads((result.merged / "model.safetensors.index.json").read_text())
        assert len(set(index["weight_map"].values())) >= 3
    assert converted(result.merged, tmp_path / "again.gguf", "bf16").read_bytes()[:4] == b"GGUF"
    assert tensors(tmp_path / "again.gguf") == tensors(result.gguf)


@pytest.mark.parametrize("opening, closing", [("{%", "%}"), ("{%-", "-%}"), ("{%+ ", " %}")])
def test_marks_for_training_leave_the_chat_template_of_a_gguf(opening: str, closing: str) -> None:
    marked = f"a {opening} generation {closing} b {opening}endgeneration{closing} c {{{{ generation }}}}"
    plain = f"a {opening} if true {closing} b {opening} endif {closing} c {{{{ generation }}}}"
    portable = portable_templates.portable_template(marked)
    assert Template(portable).render(generation="d") == Template(plain).render(generation="d")
    assert "".join(Template(portable).render(generation="d").split()) == "abcd"
