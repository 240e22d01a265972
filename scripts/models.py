#!/usr/bin/env python3
"""Writes docs/models.md: the families that tests take through a run, and what is refused before anything is fetched.

scripts/models.py            writes it
scripts/models.py --check    exits 1 if it is not what would be written
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from job.architectures import OTHERWISE, auto_class_of, table  # noqa: E402
from job.spec.training import attention_of  # noqa: E402
from job.train.targets import linear_names, trainable_names  # noqa: E402
from tests.families.configs import FAMILIES, config_of  # noqa: E402

PAGE = ROOT / "docs" / "models.md"
HEAD = """# Models

A model is looked at before its weights are fetched: its `config.json`, its tokenizer and the headers of its files are
loaded, given an adapter, converted and opened in llama.cpp, all without weights. What cannot work ends there, with exit
code 64 or 82 and what would work instead. When the weights are there, llama.cpp and transformers compute the first
layers side by side; a model on which they disagree is not trained.

`python -m job check SPEC --access` looks at all of this before there is a run. The launcher goes by the tables of this
page and the headers of the model's files, and refuses what they tell before anything is sent; where the job's extra is
installed, it looks at all of it too. Memory and disk are [predicted](prediction.md#families-without-formulas) for
every family.

## Families that are tested

`make test-families` takes a small random model of each through training, merging and conversion, with both kinds of
targets, and compares the logits of its file in llama.cpp with those of transformers.

Experts get no adapters, which is said before training. With `load.bits: 4` they are quantized as they are loaded.

| family | `model_type` | `target_modules: auto` takes | `all-linear` takes |
| --- | --- | --- | --- |
"""
OTHERS = """## Other types that both libraries know

These are not tested; a run finds out before it trains. Where the last column is empty, no model can be made of the
type's own defaults, or it has no layers of attention of these names; a run then goes by the model's own layers.

| `model_type` | class of transformers | `target_modules: auto` takes |
| --- | --- | --- |
"""
EXPERTS = "; not its experts"


def main() -> int:
    text = HEAD + "\n".join(_rows()) + "\n\n" + OTHERS + "\n".join(_others()) + "\n\n" + _refused()
    if sys.argv[1:] == ["--check"]:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def _rows() -> Iterator[str]:
    import torch

    for name, family in FAMILIES.items():
        with torch.device("meta"):
            model = auto_class_of(family.model_type).from_config(config_of(family))
        targets = attention_of(linear_names(model)) or []
        fused = any(weight.ndim > 2 and "expert" in key for key, weight in model.named_parameters())
        every = _names(trainable_names(model)) + (EXPERTS if fused else "")
        name += f" (`load.bits: {family.bits}`)" if family.bits != 4 else ""
        name += f" (`training.trainer: {family.trainer}`)" if family.trainer != "trl" else ""
        yield f"| {name} | `{family.model_type}` | {_names(targets)} | {every} |"


def _others() -> Iterator[str]:
    known, tested = table(), {family.model_type for family in FAMILIES.values()}
    for kind, name in sorted((known["loads"] | known["wraps"]).items()):
        if name in known["converts"] and name not in OTHERWISE and kind not in tested:
            targets = attention_of(known["linear"].get(kind, []))
            yield f"| `{kind}` | `{name}` | {_names(targets or [])} |"


def _names(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _refused() -> str:
    known, converts = table()["loads"], set(table()["converts"])
    unknown = sorted(kind for kind, name in known.items() if name not in converts)
    types = (
        f"- Architectures that the bundled llama.cpp does not convert. Of the {len(known)} types of language models in "
        f"transformers {table()['transformers']} these are {len(unknown)}: {_names(unknown)}."
    )
    return f"""## Refused before anything is fetched

{fill(types, 120, subsequent_indent="  ", break_on_hyphens=False)}
- Architectures that llama.cpp computes otherwise than transformers: {_names(OTHERWISE)}. A Gemma 3n of other numbers of
  layers than gemma-3n-E2B and E4B share and thin out: llama.cpp takes theirs for granted.
- Types that this transformers does not know as a language model, or as one inside a model for text and pictures, if
  they are to be trained.
- Files that lack a tensor of their class, or have more tokens than embeddings.
- Tokenizers that llama.cpp does not know.
- `lora.target_modules` that the model does not have, or on which PEFT puts no adapters.
- `load.bits: 8` for models with experts, and 4 or 8 for those whose layers are transposed (GPT-2) or whose weights the
  class multiplies by itself (Mamba): the message says which value works.
- Files that llama.cpp could not load.
"""


if __name__ == "__main__":
    sys.exit(main())
