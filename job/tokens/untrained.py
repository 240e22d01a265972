"""Tokens of a chat template whose embeddings the base model has never trained: a model cannot read them.

Base models keep room for them: rows that are all zero, or that are all alike (Llama 3's reserved tokens).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


def untrained(model: Path, used: Mapping[int, str], added: Mapping[int, str]) -> list[str]:
    """Those of the `used` tokens whose row of the input embedding is zero, or the same as that of another token of
    `added`. `model`: a folder with safetensors; both by id."""
    rows = dict(_rows(model, {*used, *added}))
    alike = Counter(rows.values())
    return [text for token, text in used.items() if token in rows and (alike[rows[token]] > 1 or not any(rows[token]))]


def _rows(model: Path, ids: set[int]) -> Iterator[tuple[int, bytes]]:
    """The bytes of each token's row; nothing for one behind the end of the embedding."""
    for path in sorted(model.glob("*.safetensors")):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
            found = next((one for name, one in header.items() if name.endswith(_EMBEDDINGS)), None)
            if found is None or found["dtype"] not in _BYTES or len(found["shape"]) != 2:
                continue
            count, width = found["shape"][0], found["shape"][1] * _BYTES[found["dtype"]]
            for token in sorted(one for one in ids if one < count):
                file.seek(8 + size + found["data_offsets"][0] + token * width)
                yield token, file.read(width)
            return
