"""Predicted against measured memory and disk of each stage, over configurations that differ in what counts.

    python -m bench.memory [--only NAME …] [--work DIR]
    python -m bench.memory --gpu        # the train stage on a GPU against memory.vram; needs one

Each configuration is a random model and a whole run of the job (`python -m job run`) on this machine, without a GPU.
Memory is the peak of RssAnon, summed over the job's processes and sampled 50 times a second, of the stage that the
job's own log says is at work; disk is what lies in the run's folder at one time. The predictions are those of
`python -m job plan`: from the spec and config.json alone. Aim: a ratio between 0.9 and 1.1.
"""

import argparse
import contextlib
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20

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
        export={"types": ["q4_k_m", "q5_0"]},
    ),
    "qwen 2.5": Case(
        "Qwen 2.5",
        shape(512, 8, 8, 2, 2048, tie_word_embeddings=True),
        {"gradient_checkpointing": False, "max_length": 256, "per_device_train_batch_size": 8},
        export={"types": ["iq4_xs", "q8_0"], "imatrix": "auto"},
    ),
    "qwen 3": Case(
        "Qwen 3",
        shape(768, 6, 8, 4, 2304, head_dim=128),
        {"max_length": 384},
        {"double_quant": True},
        {"r": 64, "target_modules": "all-linear"},
        export={"types": ["iq2_m", "q6_k"]},
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
        "dataset": {"id": str(folder / "rows.jsonl"), "eval_fraction": 0.5},
        "training": training,
        "load": case.load,
        "lora": case.lora,
        "export": {"types": ["q4_k_m", "q8_0"], "imatrix": "none"} | case.export,
        "evaluation": {"samples": 0, "threads": [2], "max_tokens": 2048, "gate": {"action": "warn"}} | case.evaluation,
        "run": {"store": str(folder / "store"), "id": "bench"},
        "publish": {"folder": str(folder / "published"), "name": "bench"},
    }


def write_rows(path: Path, max_length: int) -> None:
    """Rows that are longer than any max_length here, so that each step holds what is predicted for it, and enough of
    them that half fill a batch of llama-perplexity."""
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topics.values()).split())
    size, count = 5 * max_length, max(24, 6000 // max_length)
    rows = [text[n * size : (n + 1) * size] for n in range(count)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


@dataclass
class Measured:
    """Peaks in bytes by stage, of memory and of disk, and seconds."""

    memory: dict[str, int] = field(default_factory=dict)
    disk: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    of: dict[str, dict[str, int]] = field(default_factory=dict)


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    found, left = [], [root]
    while left:
        found.append(pid := left.pop())
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                left += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.M)
    return int(found[1]) * 1024 if found else 0


def on_disk(folder: Path) -> int:
    """Bytes of the files below a folder, hard links once."""
    sizes = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(f"{parent}/{name}")
                sizes[found.st_ino] = found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0
    return sum(sizes.values())


def run_measured(folder: Path) -> Measured:
    """A whole run, its stages told apart by the start and end events of its log."""
    measured, stages = Measured(), ["start"]
    environment = os.environ | {
        "FINETUNE_WORK": str(folder / "work"),
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": str(MIB),
    }
    command = [sys.executable, "-m", "job", "run", str(folder / "spec.json")]
    job = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    sampler = threading.Thread(target=sample, args=(job, folder / "work" / "bench", stages, measured))
    sampler.start()
    lines: list[str] = []
    assert job.stdout and job.stderr
    for line in job.stdout:
        lines.append(line)
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("event") == "stage.start":
            stages.append(record["stage"])
        elif record.get("event") in ("stage.end", "stage.error"):
            stages.remove(record["stage"])
            measured.seconds[record["stage"]] = measured.seconds.get(record["stage"], 0) + record["seconds"]
    job.wait()
    sampler.join()
    (folder / "log.jsonl").write_text("".join(lines))
    if job.returncode:
        raise SystemExit(f"the job exited {job.returncode}\n{''.join(lines[-5:])}{job.stderr.read()[-2000:]}")
    return measured


def sample(job: subprocess.Popen[str], work: Path, stages: list[str], measured: Measured) -> None:
    while job.poll() is None:
        started, stage = time.monotonic(), stages[-1]
        each = {pid: anonymous(pid) for pid in tree(job.pid)}
        if sum(each.values()) > measured.memory.get(stage, 0):
            measured.memory[stage] = sum(each.values())
            measured.of[stage] = {name_of(pid): held for pid, held in each.items()}
        measured.disk[stage] = max(measured.disk.get(stage, 0), on_disk(work))
        time.sleep(max(0.0, 0.02 - (time.monotonic() - started)))


def name_of(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return str(pid)
    return f"{pid} " + " ".join(Path(word).name for word in words[:5])


def made(name: str, work: Path) -> Path:
    """The folder of a configuration, with its model, rows and spec."""
    case, folder = CASES[name], work / re.sub(r"\W+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", MAKE, str(folder / "model"), case.family, json.dumps(case.sizes)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    spec = spec_of(case, folder)
    write_rows(folder / "rows.jsonl", spec["training"]["max_length"])
    (folder / "spec.json").write_text(json.dumps(spec, indent=2))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, help="these configurations")
    parser.add_argument("--work", type=Path, help="where about 4 GB fit (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-memory-") as work:
        for name in options.only or CASES:
            folder = made(name, Path(work))
            measured = run_measured(folder)
            print(
                json.dumps(
                    {
                        "name": name,
                        "memory": measured.memory,
                        "disk": measured.disk,
                        "s": measured.seconds,
                        "of": measured.of,
                    }
                ),
                flush=True,
            )
            import shutil

            shutil.copy(folder / "log.jsonl", "/tmp/w/mem/log-" + folder.name)
            shutil.copy(folder / "model" / "config.json", "/tmp/w/mem/config-" + folder.name)
            shutil.copy(folder / "spec.json", "/tmp/w/mem/spec-" + folder.name)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
