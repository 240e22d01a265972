"""The configurations of bench/memory.py: random models large enough that start-up does not decide, and their specs."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

MAKE = """
import sys, json
from pathlib import Path
from tests.tiny_families import FAMILIES
from tests.tiny_models import save
import transformers
folder, family, sizes = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
config, fields, tokenizer = FAMILIES[family]
base = {"max_position_embeddings": 2048, "initializer_range": 0.02, "pad_token_id": None}
dtype = sizes.pop("dtype", "bfloat16")
save(folder, getattr(transformers, config)(**(base | fields | sizes)), tokenizer=tokenizer, dtype=dtype)
"""


@dataclass(frozen=True)
class Case:
    """A model of a family, and what differs from the spec that all share."""

    family: str
    sizes: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    load: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    export: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)


def shape(hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": intermediate,
    } | more  # fmt: skip


CASES = {
    "llama 4bit": Case("Mistral", shape(1024, 12, 16, 4, 2816, vocab_size=32000, head_dim=64)),
    "llama fp32, no checkpointing": Case(
        "Mistral",
        shape(768, 12, 12, 12, 2048, vocab_size=32000, head_dim=64),
        {"gradient_checkpointing": False, "per_device_train_batch_size": 2},
        {"bits": 32},
        {"target_modules": "all-linear", "r": 32},
    ),
    "llama 3, 16 bits": Case(
        "Llama 3",
        shape(512, 8, 8, 2, 1536),
        {"max_length": 512, "trainer": "transformers", "per_device_train_batch_size": 2},
        {"bits": 16, "compute_dtype": "bfloat16"},
        export={"types": ["q5_0"]},
    ),
    "qwen 2.5": Case(
        "Qwen 2.5",
        shape(512, 8, 8, 2, 2048, tie_word_embeddings=True),
        {"gradient_checkpointing": False, "max_length": 256, "per_device_train_batch_size": 8},
        export={"types": ["iq4_xs"], "imatrix": "auto"},
    ),
    "qwen 3": Case(
        "Qwen 3",
        shape(768, 6, 8, 4, 2304, head_dim=128),
        {"max_length": 384},
        {"double_quant": True},
        {"r": 64, "target_modules": "all-linear"},
        export={"types": ["q6_k"]},
    ),
    "gemma 2": Case(
        "Gemma 2",
        shape(1024, 10, 8, 4, 4096, vocab_size=48000, head_dim=128, query_pre_attn_scalar=128),
        {"max_length": 512, "per_device_train_batch_size": 2, "trainer": "transformers"},
        export={"dtype": "bf16", "types": ["q4_0", "q3_k_m"]},
        evaluation={"context": 256},
    ),
    "gemma 3": Case(
        "Gemma 3",
        shape(768, 10, 8, 1, 3072, vocab_size=64000, head_dim=128, query_pre_attn_scalar=128),
        {"gradient_checkpointing": False, "max_length": 128, "trainer": "transformers"},
        {"bits": 32},
        export={"types": ["q8_0"], "merged": True},
    ),
    "phi 3": Case(
        "Phi-3",
        shape(1024, 14, 16, 16, 2816, vocab_size=32064),
        {"max_length": 768, "per_device_train_batch_size": 2},
        {"quant_type": "fp4"},
        {"target_modules": ["qkv_proj", "o_proj"], "use_dora": True},
        export={"dtype": "f32", "types": ["f32", "q5_k_m"]},
    ),
}  # fmt: skip


def spec_of(case: Case, folder: Path) -> dict[str, Any]:
    training = {"max_steps": 2, "max_length": 256, "per_device_train_batch_size": 4, "save_steps": 2} | case.training
    training["per_device_eval_batch_size"] = training["per_device_train_batch_size"]
    return {
        "model": {"id": str(folder / "model")},
        "dataset": {"id": str(folder / "rows.jsonl"), "eval_fraction": 0.25},
        "training": training,
        "load": case.load,
        "lora": case.lora,
        "export": {"types": ["q4_k_m"], "imatrix": "none"} | case.export,
        "evaluation": {"samples": 0, "threads": [1], "max_tokens": 1024, "gate": {"action": "warn"}} | case.evaluation,
        "run": {"store": str(folder / "store"), "id": "bench"},
        "publish": {"folder": str(folder / "published"), "name": "bench"},
    }


def write_rows(path: Path, training: dict[str, Any]) -> None:
    """Rows that are longer than max_length, so that each step holds what is predicted for it, and enough of them for
    two steps, four windows of an importance matrix, and two of judging."""
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topics.values()).split())
    size = 6 * training["max_length"]
    count = max(4 * training["per_device_train_batch_size"], 6000 // training["max_length"])
    rows = [text[n * size : (n + 1) * size] for n in range(count)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


def model_of(family: str, sizes: dict[str, Any], folder: Path) -> Path:
    """A random model."""
    command = [sys.executable, "-c", MAKE, str(folder), family, json.dumps(sizes)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return folder


def made(name: str, work: Path) -> Path:
    """The folder of a configuration, with its model, rows and spec."""
    case, folder = CASES[name], work / re.sub(r"\W+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    model_of(case.family, case.sizes, folder / "model")
    spec = spec_of(case, folder)
    write_rows(folder / "rows.jsonl", spec["training"])
    (folder / "spec.json").write_text(json.dumps(spec, indent=2))
    return folder
