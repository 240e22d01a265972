"""Tokenizers of families that people fine-tune, with the chat templates that these publish."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tests.llama_templates import templates
from tests.tiny_families import bpe_tokenizer
from tests.tiny_models import copy_tokenizer

VOCABULARIES = {
    "llama": ("llama-bpe", "<|begin_of_text|>", "<|eot_id|>"),
    "hermes": ("llama-bpe", "<|begin_of_text|>", "<|eot_id|>"),
    "qwen": ("qwen2", None, "<|im_end|>"),
}
FROM_TRL = {"llama3_1": "llama", "qwen2_5": "qwen", "qwen3": "qwen"}
"""TRL's templates by the vocabulary that they are written for."""
FROM_LLAMA_CPP = {
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "Qwen-Qwen2.5-7B-Instruct": "qwen",
    "Qwen-Qwen3-0.6B": "qwen",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
}


def from_trl(name: str) -> str:
    return (resources.files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def from_llama_cpp(name: str) -> str:
    return (templates() / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def _vocabulary(kind: str, root: Path) -> Path:
    folder = root / kind
    folder.mkdir()
    if kind == "mistral":
        copy_tokenizer(folder, chat_template=None)
    else:
        bpe_tokenizer(*VOCABULARIES[kind], folder, None)
    return folder


@cache
def tokenizer_with(kind: str, template: str, root: Path) -> Any:
    """A family's tokenizer with a template, whose files lie below `root`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_vocabulary(kind, root))
    if kind == "hermes":
        tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = template
    return tokenizer
