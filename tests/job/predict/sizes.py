"""Models whose parameters are published."""

import json
from pathlib import Path
from typing import Any


def published(width: int, layers: int, feed_forward: int, heads: int) -> dict[str, Any]:
    """The config.json of a Llama of 2023."""
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": width, "num_hidden_layers": layers,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads, "vocab_size": 32000, "tie_word_embeddings": False,
    }  # fmt: skip


SIZES = {
    "7B": (published(4096, 32, 11008, 32), 13.0, 3.9),
    "13B": (published(5120, 40, 13824, 40), 24.0, 7.8),
    "30B": (published(6656, 60, 17920, 52), 60.0, 19.5),
    "65B": (published(8192, 80, 22016, 64), 120.0, 38.5),
}
"""What the recipe's source states for f16 and for 4 bits, in GB."""


def model_folder(tmp_path: Path, config: dict[str, Any]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path
