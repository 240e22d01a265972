"""Tokenizers that do not fit their model."""

from pathlib import Path


def more_tokens(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<one-more>"])
    tokenizer.save_pretrained(folder)
