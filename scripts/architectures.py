#!/usr/bin/env python3
"""Writes job/architectures.json: the model types that the locked transformers loads as language models, with their
classes, and the architectures that the bundled llama.cpp converts.

scripts/architectures.py            writes it
scripts/architectures.py --check    exits 1 if it is not what would be written
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from job.llama_cpp import bundle

TABLE = Path(__file__).resolve().parent.parent / "job" / "architectures.json"


def main() -> int:
    text = json.dumps(table(), indent=1, sort_keys=True) + "\n"
    if sys.argv[1:] == ["--check"]:
        return int(TABLE.read_text() != text)
    TABLE.write_text(text)
    return 0


def table() -> dict[str, Any]:
    """`loads`: class by model type; `wraps`: of those that are no language model by themselves; `converts`: names of
    `architectures` in a config.json."""
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    sys.path.insert(0, str(bundle.converter_path()))
    converter = importlib.import_module("conversion")
    loads = dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    return {
        "transformers": transformers.__version__,
        "loads": loads,
        "wraps": {kind: name for kind, name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items() if kind not in loads},
        "converts": sorted(converter.TEXT_MODEL_MAP),
    }


if __name__ == "__main__":
    sys.exit(main())
