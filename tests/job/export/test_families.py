"""The model families that people fine-tune, as tiny random models with tokenizers that llama.cpp knows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.export_reference import (
    converted,
    exported,
    job_metadata,
    llama_cpp,
    load,
    logits_by_transformers,
    logits_of,
    make_adapter,
    merged_by_peft,
    metadata,
    tensors,
)
from tests.tiny_families import FAMILIES, make_family

pytestmark = pytest.mark.slow

TEXT = "It's 12345 o'clock: na\u00efve \u6f22\u5b57 \U0001f999\n\n\tdef f(x):  return x**2"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_through_and_says_in_llama_cpp_what_it_says_in_transformers(family: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = make_family(tmp_path / "base", family)
    adapter = make_adapter(base, tmp_path / "adapter", use_dora=family == "Mistral", use_rslora=family == "Qwen 3")
    result = exported(base, adapter, tmp_path / "out", export={"dtype": "f32"})
    merged = merged_by_peft(base, adapter, tmp_path / "merged" / "tiny", dtype=torch.float32)
    expected = converted(merged, tmp_path / "reference.gguf", "f32")
    assert tensors(result.gguf) == tensors(expected)
    assert metadata(result.gguf) == job_metadata(expected)
    assert result.changed >= 8

    ids, logits = logits_of(result.gguf, "The quick brown fox", tmp_path / "logits")
    reference = logits_by_transformers(load(merged, dtype=torch.float32), ids)
    tolerance = 5e-3 if family.startswith("Gemma") else 2e-4  # llama.cpp looks GELU up in a table of float16
    assert np.abs(logits - reference).max() / reference.std() < tolerance

    (tmp_path / "text").write_text(TEXT)
    printed = llama_cpp("llama-tokenize", "-m", result.gguf, "-f", tmp_path / "text", "--no-escape", "--ids")
    assert json.loads(printed.splitlines()[-1]) == AutoTokenizer.from_pretrained(base)(TEXT)["input_ids"]
