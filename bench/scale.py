"""What a run costs as the work grows: rows, types and the model's size; and what a restart costs.

    python -m bench.scale [rows types model restart] [--rows 1000 10000 100000] [--work DIR]

Whole runs of the job on small random models, of which one thing grows. Of the stages that it concerns: seconds, from
the log; the peak of RssAnon over all processes of the job; and what lay in the work folder, without the store. The
slope is that of the straight line through the points, and "straight" how much more the last stretch costs for each unit
than the first: 1.0 is linear. Restart: the seconds from the start of training to the first step, in a run that begins,
and in one that is killed after a checkpoint and goes on; the same from the start of the process.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.memory import MB, Measured, run_measured
from bench.memory_cases import model_of, shape

ROOT = Path(__file__).resolve().parents[1]
TYPES = ["q8_0", "q4_k_m", "q5_k_m", "q6_k", "q4_0", "q5_0", "q3_k_m", "q4_k_s"]
ROWS = [1_000, 10_000, 100_000]
LAYERS = [4, 12, 36]
LINEAR, FLAT, RESTART = 1.3, 1.1, 1.2
"""Targets: "straight", the growth of memory, and a restart's share of a cold start."""
SMALL = shape(256, 2, 4, 4, 512, vocab_size=8000, head_dim=64)


@dataclass
class Point:
    """One run: `size` is what grows."""

    size: int
    seconds: float
    memory: int
    disk: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["rows", "types", "model", "restart"])
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--work", type=Path, help="where about 4 GB fit (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-scale-") as folder:
        work = Path(folder)
        if "rows" in options.what:
            runs = [(count, with_rows(work / f"rows-{count}", count)) for count in options.rows]
            for stage in ("fetch", "tokens", "train"):
                report(f"rows, {stage}", "thousand rows", 1000, [point(count, run, [stage]) for count, run in runs])
        if "types" in options.what:
            runs = [(count, with_types(work / f"types-{count}", count)) for count in (1, 2, 4, 8)]
            report("types", "type", 1, [point(count, run, ["quantize", "evaluate"]) for count, run in runs])
        if "model" in options.what:
            runs = [(layers, with_layers(work / f"layers-{layers}", layers)) for layers in LAYERS]
            for stage in ("export", "quantize", "evaluate", "publish"):
                report(f"model, {stage}", "layer", 1, [point(count, run, [stage]) for count, run in runs])
        if "restart" in options.what:
            restart(work / "restart")


def point(size: int, run: Measured, stages: Sequence[str]) -> Point:
    return Point(
        size,
        sum(run.seconds.get(stage, 0.0) for stage in stages),
        max(run.memory.get(stage, 0) for stage in stages),
        max(run.disk.get(stage, 0) for stage in stages),
    )


def report(what: str, unit: str, per: int, points: list[Point]) -> None:
    """A table, the slope, and whether the time is linear and the memory flat."""
    print(f"\n{what}\n\n| | seconds | RSS, MB | disk, MB |\n| ---: | ---: | ---: | ---: |")
    for one in points:
        print(f"| {one.size:,} | {one.seconds:.1f} | {one.memory / MB:,.0f} | {one.disk / MB:,.0f} |")
    slope = fitted([(one.size / per, one.seconds) for one in points])
    first, *_, before, last = [*points[:2], *points[-2:]]
    start = (points[1].seconds - first.seconds) / (points[1].size - first.size)
    end = (last.seconds - before.seconds) / (last.size - before.size)
    straight = end / start if start > 0 else float("inf")
    growth = last.memory / first.memory
    lying = fitted([(one.size / per, one.disk / MB) for one in points])
    grown = f"{what.split(',')[0]} grow x {last.size / first.size:.0f}"
    print(f"\n{slope:.2f} s and {lying:.1f} MB of disk for each {unit}; straight {straight:.2f} (at most {LINEAR})")
    print(f"memory x {growth:.2f} while the {grown} (flat: at most {FLAT})")
    sys.stdout.flush()


def fitted(points: list[tuple[float, float]]) -> float:
    """The slope of the line with the least squared errors."""
    x, y = (sum(one[n] for one in points) / len(points) for n in (0, 1))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def prepared(folder: Path, sizes: dict[str, Any], rows: int, **more: Any) -> Path:
    """A folder with a model, rows and a spec, as `run_measured` takes it."""
    folder.mkdir(parents=True)
    model_of("Mistral", sizes, folder / "model")
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows):
            text = " ".join(f"row {number} has the word {number * 7919 % 10007} in it and ends" for _ in range(4))
            file.write(json.dumps({"text": text}) + "\n")
    spec = {
        "model": {"id": str(folder / "model")},
        "dataset": {"id": str(folder / "rows.jsonl"), "eval_fraction": 0.02},
        "training": {"max_steps": 1, "max_length": 64, "per_device_train_batch_size": 1},
        "export": {"types": ["q8_0"], "imatrix": "none"},
        "evaluation": {"samples": 0, "threads": [1], "max_tokens": 1024, "gate": {"action": "warn"}},
        "run": {"store": str(folder / "store"), "id": "bench"},
        "publish": {"folder": str(folder / "published"), "name": "bench"},
    }
    (folder / "spec.json").write_text(json.dumps(spec | more))
    return folder


def with_rows(folder: Path, count: int) -> Measured:
    return run_measured(prepared(folder, SMALL, count))


def with_types(folder: Path, count: int) -> Measured:
    sizes = shape(768, 12, 12, 12, 2048, vocab_size=32000, head_dim=64)
    export = {"types": TYPES[:count], "imatrix": "none"}
    return run_measured(prepared(folder, sizes, 1000, training=None, export=export))


def with_layers(folder: Path, layers: int) -> Measured:
    sizes = shape(768, layers, 12, 12, 2048, vocab_size=16000, head_dim=64)
    return run_measured(prepared(folder, sizes, 1000, training=None, export={"types": ["q4_k_m"], "imatrix": "none"}))


def restart(folder: Path) -> None:
    training = {
        "max_steps": 40,
        "max_length": 64,
        "per_device_train_batch_size": 1,
        "save_steps": 2,
        "logging_steps": 1,
    }
    sizes = shape(1024, 12, 16, 4, 2816, vocab_size=32000, head_dim=64)
    prepared(folder, sizes, 1000, training=training)
    cold = first_step(folder, stop_at="checkpoint.stored")
    warm = first_step(folder, stop_at="train.log")
    print("\n| from | cold, s | restart, s | ratio |\n| --- | ---: | ---: | ---: |")
    for what, old, new in zip(("start of training", "start of the process"), cold, warm, strict=True):
        print(f"| {what} to the first step | {old:.1f} | {new:.1f} | {new / old:.2f} |")
    print(f"\nrestart: at most {RESTART}: {'met' if warm[0] <= RESTART * cold[0] else 'MISSED'}")


def first_step(folder: Path, *, stop_at: str) -> tuple[float, float]:
    """Seconds from the start of training, and of the process, to the first step. The run is killed at an event."""
    environment = os.environ | {"FINETUNE_WORK": str(folder / "work"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "job", "run", str(folder / "spec.json")]
    began = training = time.monotonic()
    first: float | None = None
    job = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert job.stdout
    for line in job.stdout:
        event = json.loads(line) if line.startswith("{") else {}
        if (event.get("event"), event.get("stage")) == ("stage.start", "train"):
            training = time.monotonic()
        if event.get("event") == "train.log" and first is None:
            first = time.monotonic()
        if event.get("event") == stop_at and first is not None:
            os.killpg(job.pid, signal.SIGKILL)
            break
    job.wait()
    job.stdout.close()
    if first is None:
        raise SystemExit(f"no step was logged: the job exited {job.returncode}")
    return first - training, first - began


if __name__ == "__main__":
    main()
