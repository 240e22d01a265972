"""Tiny random models of the families that people fine-tune, each with a tokenizer that llama.cpp's converter knows.

Mistral, Gemma and Phi-3 read tokenizer.model, so they get the one that tiny_models trains. Llama 3, Qwen 2 and
Qwen 3 have byte-level BPE tokenizers, which the converter knows by a hash over the ids of a fixed text: only the real
vocabulary gives it. llama.cpp's source carries it for its own tests (models/ggml-vocab-*.gguf), and the build keeps
it beside the programs, so these families get the real tokenizer on a tiny model.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from job.llama_cpp import bundle
from tests.gguf_file import read_gguf
from tests.tiny_models import CHAT_TEMPLATE, VOCAB_SIZE, copy_tokenizer, save, write_json

_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {"llama-bpe": _SPLIT % "{1,3}", "qwen2": _SPLIT % ""}


def bpe_tokenizer(name: str, bos: str | None, eos: str, folder: Path, chat_template: str | None) -> None:
    """Writes the tokenizer of llama.cpp's vocabulary `name` in Hugging Face's format."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    vocabulary = read_gguf(bundle.home() / "vocab" / f"ggml-vocab-{name}.gguf").metadata
    tokens, types = vocabulary["tokenizer.ggml.tokens"], vocabulary["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in vocabulary["tokenizer.ggml.merges"]]
    normal = {token: number for number, token in enumerate(tokens) if types[number] == 1}
    tokenizer = Tokenizer(models.BPE(vocab=normal, merges=merges, ignore_merges=name == "llama-bpe"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_SPLITS[name]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for number, token in enumerate(tokens) if types[number] != 1]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    if bos:
        start = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A {bos} $B", [(bos, tokenizer.token_to_id(bos))])
        tokenizer.post_processor = start
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
    template = {"chat_template": chat_template} if chat_template else {}
    write_json(folder / "tokenizer_config.json", config | template | {"clean_up_tokenization_spaces": False})


def _without_prefix(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """The SentencePiece tokenizer as Gemma has it: no space is put before a text."""
    copy_tokenizer(folder, chat_template=chat_template)
    path = folder / "tokenizer.json"
    fast = json.loads(path.read_text())
    fast["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    write_json(path, fast)


_SIZES: dict[str, Any] = {
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64,
    "intermediate_size": 128, "max_position_embeddings": 2048, "initializer_range": 0.05, "pad_token_id": None,
}  # fmt: skip
_SENTENCEPIECE: dict[str, Any] = {"vocab_size": VOCAB_SIZE, "bos_token_id": 1, "eos_token_id": 2}
_LLAMA3 = partial(bpe_tokenizer, "llama-bpe", "<|begin_of_text|>", "<|end_of_text|>")
_QWEN = partial(bpe_tokenizer, "qwen2", None, "<|im_end|>")
_LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 512,
}  # fmt: skip

FAMILIES: dict[str, tuple[str, dict[str, Any], Callable[..., None]]] = {
    "Llama 3": (
        "LlamaConfig",
        {
            "vocab_size": 128256, "bos_token_id": 128000, "eos_token_id": 128001, "rope_parameters": _LLAMA3_ROPE,
            "tie_word_embeddings": True,
        },
        _LLAMA3,
    ),
    "Mistral": ("MistralConfig", _SENTENCEPIECE | {"head_dim": 32, "sliding_window": None}, copy_tokenizer),
    "Qwen 2.5": ("Qwen2Config", {"vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645}, _QWEN),
    "Qwen 3": (
        "Qwen3Config",
        {
            "vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645, "head_dim": 32,
            "tie_word_embeddings": True,
        },
        _QWEN,
    ),
    "Gemma": ("GemmaConfig", _SENTENCEPIECE | {"head_dim": 32}, _without_prefix),
    "Gemma 2": ("Gemma2Config", _SENTENCEPIECE | {"head_dim": 32, "query_pre_attn_scalar": 32}, _without_prefix),
    "Gemma 3": ("Gemma3TextConfig", _SENTENCEPIECE | {"head_dim": 32, "query_pre_attn_scalar": 32}, _without_prefix),
    "Phi-3": ("Phi3Config", _SENTENCEPIECE | {"original_max_position_embeddings": 2048}, copy_tokenizer),
}  # fmt: skip


def make_family(folder: Path, name: str, **settings: Any) -> Path:
    """The tiny model of a family, in bfloat16 unless `settings` say otherwise."""
    import transformers

    config, fields, tokenizer = FAMILIES[name]
    return save(folder, getattr(transformers, config)(**(_SIZES | fields)), tokenizer=tokenizer, **settings)


def make_gemma_3_with_eyes(folder: Path) -> Path:
    """A tiny Gemma3ForConditionalGeneration, the class of Gemma 3 from 4B on."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    make_family(folder, "Gemma 3")
    text = json.loads((folder / "config.json").read_text()) | {"model_type": "gemma3_text"}
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    Gemma3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(folder)
    return folder
