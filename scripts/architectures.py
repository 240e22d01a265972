#!/usr/bin/env python3
"""Writes job/architectures.json: the model types that the locked transformers loads as language models, with their
classes, and the architectures that the bundled llama.cpp converts; of types that both know, what a small model of the
type's own defaults shows.

scripts/architectures.py            writes it
scripts/architectures.py --check    exits 1 if it is not what would be written
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from job.llama_cpp import bundle

LAYERS = 8
"""Enough for each kind of layer."""
TABLE = Path(__file__).resolve().parent.parent / "job" / "architectures.json"


def main() -> int:
    text = json.dumps(table(), indent=1, sort_keys=True) + "\n"
    if sys.argv[1:] == ["--check"]:
        return int(TABLE.read_text() != text)
    TABLE.write_text(text)
    return 0


def table() -> dict[str, Any]:
    """`loads`: class by model type; `wraps`: of those that are no language model by themselves; `converts`: names of
    `architectures` in a config.json; `linear`: names of the linear layers by model type, where a model can be made of
    the type's defaults; `eager`: types whose attention is not fused."""
    import transformers
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    from job.train.targets import linear_names

    sys.path.insert(0, str(bundle.converter_path()))
    converter = importlib.import_module("conversion")
    loads = dict(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    wraps = {kind: name for kind, name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items() if kind not in loads}
    both = {kind for kind, name in (loads | wraps).items() if name in converter.TEXT_MODEL_MAP}
    models = {kind: model for kind in sorted(both) if (model := _small(kind, kind in wraps)) is not None}
    return {
        "transformers": transformers.__version__,
        "loads": loads,
        "wraps": wraps,
        "converts": sorted(converter.TEXT_MODEL_MAP),
        "linear": {kind: sorted(linear_names(model)) for kind, model in models.items()},
        "eager": [kind for kind, model in models.items() if model.config._attn_implementation == "eager"],
    }


def _small(kind: str, wrapped: bool) -> Any:
    """A model of the first layers of a type's defaults, without weights; None if its defaults make none."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.for_model(kind)
        text = config.get_text_config()
        total = text.num_hidden_layers
        for name, value in [*vars(text).items()]:
            if isinstance(value, list) and len(value) == total:
                setattr(text, name, value[:LAYERS])
        text.num_hidden_layers = min(total, LAYERS)
        cls = transformers.AutoModelForImageTextToText if wrapped else transformers.AutoModelForCausalLM
        with torch.device("meta"):
            return cls.from_config(config)
    except Exception:  # noqa: BLE001 - whatever a class says of defaults that are not a model's
        return None


if __name__ == "__main__":
    sys.exit(main())
