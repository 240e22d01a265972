#!/usr/bin/env python3
"""Tokens per second of this job's train stage against the plain SFTTrainer script with the same settings.

    python -m bench.train [--model FOLDER] [--steps 12] [--rounds 3]

Both run in one process each, alternating in who is first; the ratio of the medians is what counts. Without --model,
the demo's SmolLM2-135M from the cache. Target: at least 0.98.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = 0.98
BATCH, LENGTH = 4, 96


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=["job", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.model, options.rows, options.steps)))
        return 0
    model = options.model or demo_model()
    with tempfile.TemporaryDirectory() as work:
        rows = Path(work) / "rows.jsonl"
        write_rows(rows, options.steps * BATCH)
        found: dict[str, list[float]] = {"plain": [], "job": []}
        for number in range(options.rounds):
            for kind in sorted(found, reverse=number % 2 == 0):
                command = [sys.executable, "-m", "bench.train", "--one", kind, "--model", model, "--rows", rows]
                command += ["--steps", str(options.steps)]
                said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
                found[kind].append(json.loads(said.splitlines()[-1]))
                print(f"{kind:6} {found[kind][-1]:8.1f} tokens/s", flush=True)
    ratio = statistics.median(found["job"]) / statistics.median(found["plain"])
    print(f"\n| | tokens/s, median of {options.rounds} |\n| --- | ---: |")
    for kind, title in (("plain", "plain SFTTrainer script"), ("job", "this job")):
        print(f"| {title} | {statistics.median(found[kind]):.1f} |")
    print(f"| ratio (target {TARGET}) | {ratio:.3f} |")
    return 0 if ratio >= TARGET else 1


def demo_model() -> Path:
    said = subprocess.run([sys.executable, ROOT / "scripts/smollm2.py"], check=True, capture_output=True, text=True)
    return Path(said.stdout.splitlines()[-1])


def write_rows(path: Path, count: int) -> None:
    from pydoc_data.topics import topics

    text = " ".join(" ".join(topics.values()).split())
    rows = [text[n * 400 : (n + 1) * 400] for n in range(count)]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))


def one(kind: str, model: Path, rows: Path, steps: int) -> float:
    """Trains and gives tokens per second over the steps after the first, which warms up."""
    from transformers import TrainerCallback

    moments: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: object, state: object, control: object, **_: object) -> None:
            moments.append((time.monotonic(), float(state.num_input_tokens_seen)))  # type: ignore[attr-defined]

    with tempfile.TemporaryDirectory() as work:
        (train_job if kind == "job" else train_plain)(model, rows, steps, Path(work), Clock())
    (first, seen), (last, total) = moments[0], moments[-1]
    return (total - seen) / (last - first)


def train_job(model: Path, rows: Path, steps: int, work: Path, clock: object) -> None:
    from bench.rows_as_tokens import train_inputs
    from job.spec import JobSpec
    from job.train import stage as train_stage

    spec = JobSpec.model_validate(
        {
            "model": {"id": str(model)},
            "dataset": {"id": "./rows.jsonl"},
            "training": {"max_steps": steps, "max_length": LENGTH, "per_device_train_batch_size": BATCH},
            "evaluation": {"samples": 0},
        }
    )
    made = train_stage.make_trainer

    def with_clock(*arguments: object) -> object:
        trainer = made(*arguments)
        trainer.add_callback(clock)
        return trainer

    train_stage.make_trainer = with_clock
    train_stage.run(spec, train_inputs(spec, model, rows, work / "tokens"), work)


def train_plain(model: Path, rows: Path, steps: int, work: Path, clock: object) -> None:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    from tests.plain_training import RECIPE, load

    peft, tokenizer = load(model)
    arguments = RECIPE | {"max_steps": steps, "per_device_train_batch_size": BATCH, "max_length": LENGTH}
    arguments |= {"logging_steps": 25, "warmup_steps": 0.03, "include_num_input_tokens_seen": "non_padding"}
    trainer = SFTTrainer(
        model=peft,
        args=SFTConfig(output_dir=str(work), **arguments),
        train_dataset=load_dataset("json", data_files=str(rows), split="train", cache_dir=str(work / "cache")),
        processing_class=tokenizer,
        callbacks=[clock],
    )
    for weight in peft.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    trainer.train()


if __name__ == "__main__":
    sys.exit(main())
