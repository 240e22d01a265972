"""Exported files in llama.cpp itself: logits, token ids, special tokens, the end of a generation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from job.chat.portable import portable_template
from job.errors import SpecInvalid
from job.export import stage as export_stage
from tests.export_reference import (
    exported,
    llama_cpp,
    load,
    logits_by_transformers,
    logits_of,
    make_adapter,
    merged_by_peft,
    metadata,
    spec,
    tensors,
    with_adapter,
)
from tests.tiny_models import CHAT_TEMPLATE, ROLES, make_llama

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


ODD_TEXTS = [
    "Hello world",
    " leading and  double   spaces ",
    "tabs\tand\nnew\r\nlines\n\n",
    "na\u00efve caf\u00e9 \u2013 \u201cquotes\u201d \u2026 \u00bd \u00df \u1e9e e\u0301",
    "\U0001f999\U0001f916 \U0001f469\u200d\U0001f469\u200d\U0001f467 emoji",
    "\u6f22\u5b57\u304b\u306a \ud55c\uae00 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "0123456789 3.14e-10 x=y==z;!@#$%^&*()[]{}<>|\\/~`",
    "\u200b\u00a0\ufeff zero width \x7f \u2581 underline",
    'for (int i=0;i<10;i++){\n\tprintf("%d\\n", i);\n}',
    "<|user|>tags<|end|> are</s> tokens",
]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True, "r": 16},
        {"rank_pattern": {"q_proj": 4, "down_proj": 16}, "alpha_pattern": {"v_proj": 64}},
    ],
    ids=["LoRA", "rsLoRA", "patterns"],
)
def test_the_adapter_as_gguf_gives_the_merged_models_logits(config: dict[str, Any], tmp_path: Path) -> None:
    """In float32, where merging rounds nothing: only the order of sums differs."""
    base = make_llama(tmp_path / "base", dtype="float32")
    adapter = make_adapter(base, tmp_path / "adapter", **({"lora_alpha": 64} | config))
    result = exported(base, adapter, tmp_path / "out", export={"adapter": True, "dtype": "f32"})
    assert result.adapter_gguf is not None
    plain = exported(base, None, tmp_path / "plain", export={"dtype": "f32"}).gguf
    prompt = "The adapter beside the base"
    ids, merged = logits_of(result.gguf, prompt, tmp_path / "merged")
    _, beside = logits_of(plain, prompt, tmp_path / "beside", "--lora", result.adapter_gguf)
    _, without = logits_of(plain, prompt, tmp_path / "without")
    assert_close(beside, merged, 1e-4)
    assert_close(beside, logits_by_transformers(with_adapter(base, adapter), ids), 1e-4)
    assert np.abs(without - merged).max() > 0.1 * merged.std()


@pytest.mark.parametrize(
    "config, named",
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "saved modules (lm_head.weight)"),
        ({"trainable_token_indices": [7]}, "trained tokens"),
        ({"target_modules": ["lm_head", "q_proj"]}, "an output embedding"),
    ],
)
def test_what_a_gguf_adapter_cannot_hold_is_named(
    config: dict[str, Any], named: str, tied_base: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tied_base, tmp_path / "adapter", **config)
    with pytest.raises(SpecInvalid, match="a GGUF adapter cannot hold") as caught:
        exported(tied_base, adapter, tmp_path / "out", export={"adapter": True})
    assert named in caught.value.message


@pytest.mark.parametrize(
    "dtype, weights, tolerance",
    [("f32", torch.float32, 1e-4), ("f16", torch.float16, 5e-3), ("bf16", torch.bfloat16, 5e-2)],
)
def test_logits_in_llama_cpp_agree_with_transformers(
    dtype: str, weights: torch.dtype, tolerance: float, base: Path, adapter: Path, tmp_path: Path
) -> None:
    """Relative to the logits' spread. llama.cpp rounds activations to the weights' type before each product:
    11 bits of mantissa in float16, 8 in bfloat16; in float32 only the order of sums differs."""
    merged = load(merged_by_peft(base, adapter, tmp_path / "merged", dtype=torch.float32), dtype=weights).float()
    gguf = exported(base, adapter, tmp_path / "out", export={"dtype": dtype}).gguf
    for number, text in enumerate(ODD_TEXTS[:3]):
        ids, logits = logits_of(gguf, text, tmp_path / f"logits{number}")
        assert_close(logits, logits_by_transformers(merged, ids), tolerance)


def assert_close(got: "np.ndarray[Any, Any]", expected: "np.ndarray[Any, Any]", tolerance: float) -> None:
    """The largest difference, in units of the expected logits' standard deviation."""
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() / expected.std() < tolerance


def test_token_ids_agree_on_text_with_odd_characters(base: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    gguf = exported(base, adapter, tmp_path / "out").gguf
    for number, text in enumerate(ODD_TEXTS):
        (tmp_path / f"{number}.txt").write_bytes(text.encode())
        file = ["-f", tmp_path / f"{number}.txt", "--no-escape"]
        printed = llama_cpp("llama-tokenize", "-m", gguf, *file, "--ids", "--log-disable")
        assert json.loads(printed) == tokenizer(text)["input_ids"], text


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_adapter_on_one_side_of_tied_embeddings_unties_them_as_it_was_trained(
    target: str, tied_base: Path, tmp_path: Path
) -> None:
    """merge_and_unload changes both sides here, so the reference is the adapter beside the base."""
    adapter = make_adapter(tied_base, tmp_path / "adapter", target_modules=[target, "q_proj"], lora_alpha=64)
    result = exported(tied_base, adapter, tmp_path / "out", export={"dtype": "f32", "merged": True})
    assert "output.weight" in tensors(result.gguf)
    ids, logits = logits_of(result.gguf, "Tied or not", tmp_path / "logits")
    expected = logits_by_transformers(with_adapter(tied_base, adapter, dtype=torch.float32), ids)
    assert_close(logits, expected, 1e-4)
    assert result.merged is not None
    rounded = logits_by_transformers(load(result.merged, dtype=torch.float32), ids)
    assert_close(rounded, logits, 2e-2)  # the safetensors are in the base's bfloat16


@pytest.mark.parametrize("differs", [False, True], ids=["equal", "another"])
@pytest.mark.parametrize(
    "settings",
    [
        {"trainable_token_indices": [300, 301]},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": ["lm_head", "q_proj"]},
    ],
    ids=str,
)
def test_an_output_embedding_in_the_files_of_a_tied_model_is_exported_as_it_was_trained(
    settings: dict[str, Any], differs: bool, tied_base: Path, tmp_path: Path
) -> None:
    """transformers ties them if they are equal, and loads another one as it is, whatever the config says."""
    model = Path(shutil.copytree(tied_base, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    weights["lm_head.weight"] = head.flip(0) if differs else head
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})

    def change(peft: Any) -> None:
        with torch.no_grad():
            for name, weight in peft.named_parameters():
                if "trainable_tokens_delta" in name:
                    weight.mul_(-3)

    adapter = make_adapter(model, tmp_path / "adapter", change=change, **({"target_modules": ["q_proj"]} | settings))
    result = exported(model, adapter, tmp_path / "out", export={"dtype": "f32", "merged": True})
    ids, logits = logits_of(result.gguf, "Tied or not", tmp_path / "logits")
    assert_close(logits, logits_by_transformers(with_adapter(model, adapter, dtype=torch.float32), ids), 1e-4)
    assert result.merged is not None
    assert_close(logits_by_transformers(load(result.merged, dtype=torch.float32), ids), logits, 3e-2)


CONTROL, USER_DEFINED, BYTE = 3, 4, 6


def test_the_chat_template_and_the_special_tokens_are_the_models(base: Path, adapter: Path, tmp_path: Path) -> None:
    gguf = metadata(exported(base, adapter, tmp_path / "out").gguf)
    assert gguf["tokenizer.chat_template"] == portable_template(CHAT_TEMPLATE)
    assert (gguf["tokenizer.ggml.bos_token_id"], gguf["tokenizer.ggml.eos_token_id"]) == (1, 2)
    assert gguf["tokenizer.ggml.add_bos_token"] is True
    assert gguf["general.name"] == "tiny"
    tokens, types = gguf["tokenizer.ggml.tokens"], gguf["tokenizer.ggml.token_type"]
    assert [types[tokens.index(role)] for role in ROLES] == [CONTROL] * len(ROLES)
    assert types[tokens.index("<0x0A>")] == BYTE


def test_tokens_that_training_added_are_in_the_gguf(base: Path, tmp_path: Path) -> None:
    """transformers 5 writes added tokens to tokenizer.json alone, and the converter reads tokenizer.model."""
    from transformers import AutoTokenizer

    wide = make_llama(tmp_path / "wide", vocab_size=1540)
    tokenizer = AutoTokenizer.from_pretrained(wide)
    tokenizer.add_tokens(["<tool>"])
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    inputs = export_stage.Inputs(model=wide, tokenizer=tmp_path / "tokenizer", name="tiny")
    result = export_stage.run(spec(), inputs, tmp_path / "out")
    gguf = metadata(result.gguf)
    tokens, types = gguf["tokenizer.ggml.tokens"], gguf["tokenizer.ggml.token_type"]
    assert tokens[1536:1538] == ["<tool>", "<pad>"]
    assert types[1536:1538] == [USER_DEFINED, CONTROL]
    assert gguf["tokenizer.ggml.padding_token_id"] == 1537
    printed = llama_cpp("llama-tokenize", "-m", result.gguf, "-p", "a <tool> call", "--ids", "--log-disable")
    assert 1536 in json.loads(printed)


def test_a_model_trained_with_eos_stops_at_eos(tmp_path: Path) -> None:
    """The adapter saves embeddings that make a chain: <|assistant|>, yes, EOS, and then, if nothing stops, no."""
    from transformers import AutoTokenizer

    def silence(model: Any) -> None:
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.data.zero_()
            layer.mlp.down_proj.weight.data.zero_()

    def teach(model: Any) -> None:
        chain = [tokenizer.convert_tokens_to_ids(token) for token in ("<|assistant|>", "\u2581is", "</s>", "\u2581not")]
        saved = model.base_model.model
        inputs, outputs = saved.model.embed_tokens.weight.data, saved.lm_head.weight.data
        outputs.zero_()
        for place, (token, following) in enumerate(zip(chain, [*chain[1:], chain[1]], strict=True)):
            inputs[token] = torch.eye(256)[place]
            outputs[following, place] += 10

    base = make_llama(tmp_path / "base", prepare=silence)
    tokenizer = AutoTokenizer.from_pretrained(base)
    adapter = make_adapter(
        base, tmp_path / "adapter", change=teach, target_modules=["o_proj"], init_lora_weights=True,
        modules_to_save=["embed_tokens", "lm_head"],
    )  # fmt: skip
    gguf = exported(base, adapter, tmp_path / "out").gguf
    generation = ["-n", "12", "--temp", "0", "-t", "1", "-c", "256", "--no-warmup", "--no-display-prompt"]
    chat = [{"role": "user", "content": "Is it?"}]
    prompt = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|assistant|>")
    assert llama_cpp("llama-completion", "-m", gguf, "-no-cnv", "-p", prompt, *generation).split() == [
        "is", "[end", "of", "text]",
    ]  # fmt: skip
