"""Predicted against measured memory and disk of each stage, over configurations that differ in what counts.

    python -m bench.memory [--only NAME …] [--work DIR]
    python -m bench.memory --gpu        # the train stage on a GPU against memory.vram; needs one

Each configuration is a random model and a whole run of the job (`python -m job run`) on this machine, without a GPU.
Memory is the peak of RssAnon, summed over the job's processes and sampled every 5 ms, of the stage that the job's own
log says is at work; disk is what lies in the run's folder at one time. The predictions are those of `python -m job
plan`, from the spec and config.json alone. Aim: a ratio between 0.9 and 1.1.

glibc is told to give freed blocks of 1 MB and more back (MALLOC_MMAP_THRESHOLD_). By itself it keeps those below 32 MB
for reuse, and reuses them badly: some hundred MB in models as small as these, other ones in each run.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.memory_cases import CASES, made
from bench.rows_as_tokens import train_inputs
from job.node import gpu_here
from job.predict import disk, ram, vram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.file_sizes import planned_here
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.train import stage as train_stage

ROOT = Path(__file__).resolve().parents[1]
MB = 1_000_000
LITTLE = 20 * MB
EVERY_S = 0.005


@dataclass
class Measured:
    """Peaks in bytes by stage, of memory and of disk, and seconds."""

    memory: dict[str, int] = field(default_factory=dict)
    disk: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


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
        "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
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
        stage = record.get("stage") if record.get("stage") != "try" else "quantize"
        if record.get("event") == "stage.start":
            stages.append(stage)
        elif record.get("event") in ("stage.end", "stage.error"):
            stages.remove(stage)
            measured.seconds[stage] = measured.seconds.get(stage, 0) + record["seconds"]
    job.wait()
    sampler.join()
    (folder / "log.jsonl").write_text("".join(lines))
    if job.returncode:
        raise SystemExit(f"the job exited {job.returncode}\n{''.join(lines[-5:])}{job.stderr.read()[-2000:]}")
    return measured


def sample(job: subprocess.Popen[str], work: Path, stages: list[str], measured: Measured) -> None:
    """A child's own stage counts before the log's: it takes a moment to end."""
    looks, pids, stage = 0, [job.pid], stages[-1]
    while job.poll() is None:
        if looks % 10 == 0 or stage != stages[-1]:
            pids = tree(job.pid)
            stage = next(filter(None, map(stage_of, pids)), stages[-1])
        if looks % 20 == 0:
            measured.disk[stage] = max(measured.disk.get(stage, 0), on_disk(work))
        looks += 1
        held = sum(map(anonymous, pids))
        measured.memory[stage] = max(measured.memory.get(stage, 0), held)
        time.sleep(EVERY_S)


def stage_of(pid: int) -> str | None:
    """The name of the stage that a child of the job runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return None
    return words[words.index("stage") + 1] if words[1:3] == ["-m", "job"] and "stage" in words else None


def predicted(folder: Path) -> tuple[Anatomy, dict[str, int], dict[str, int]]:
    """The model's sizes; memory and disk by stage, as `plan` and preflight say them."""
    spec = JobSpec.model_validate(json.loads((folder / "spec.json").read_text()))
    model = anatomy_of(json.loads((folder / "model" / "config.json").read_text()), "model")
    files = planned_here(model, spec.export.presets)
    size = disk.sizes(spec, model, files={kind: file.size for kind, file in files.items()}, on_gpu=False)
    return model, ram.by_stage(spec, model, files, on_gpu=False, llama_gpu=False), disk.by_stage(spec, size)


def rows_of(name: str, folder: Path) -> Iterator[str]:
    """A row of the table for each stage; disk only where it is more than some MB."""
    measured = run_measured(folder)
    model, held, lies = predicted(folder)
    for stage, count in held.items():
        if stage not in measured.memory:
            continue
        # What judging needs is predicted with the tokens that it is done on.
        seen = max(measured.memory.get(one, 0) for one in ((stage, "tokens") if stage == "evaluate" else (stage,)))
        cells = [f"{name}, {model.parameters / 1e6:.0f}M", stage]
        cells += [f"{count / MB:,.0f}", f"{seen / MB:,.0f}", f"{count / seen:.2f}"]
        lying, found = lies.get(stage, 0), measured.disk[stage]
        cells += (
            [f"{lying / MB:,.0f}", f"{found / MB:,.0f}", f"{lying / found:.2f}"]
            if lying and found > LITTLE
            else [""] * 3
        )
        yield f"| {' | '.join(cells)} |"


def gpu_row(name: str, folder: Path) -> str:
    """The train stage on a GPU: what torch had allocated and reserved at the most, and what was predicted of it."""
    spec = JobSpec.model_validate(json.loads((folder / "spec.json").read_text()))
    model = anatomy_of(json.loads((folder / "model" / "config.json").read_text()), "model")
    inputs = train_inputs(spec, folder / "model", folder / "rows.jsonl", folder / "tokens")
    result: train_stage.Result = Supervisor().run_stage(train_stage, spec, inputs, folder / "train")
    needed = vram.vram(spec, model)
    counts = [needed.total - needed.context, result.memory["cuda_peak"], result.memory["cuda_reserved"]]
    cells = [name, *(f"{count / MB:,.0f}" for count in counts), *(f"{counts[0] / one:.2f}" for one in counts[1:])]
    return f"| {' | '.join(cells)} |"


TABLE = """\
| configuration | stage | RAM predicted, MB | measured | ratio | disk predicted, MB | measured | ratio |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""
GPU_TABLE = """\
| configuration | VRAM predicted without the context, MB | allocated | reserved | ratio | ratio |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=CASES, help="these configurations")
    parser.add_argument("--work", type=Path, help="where about 4 GB fit (default: the temporary directory)")
    parser.add_argument("--gpu", action="store_true", help="the train stage alone, on the GPU of this machine")
    options = parser.parse_args()
    if options.gpu and gpu_here() is None:
        raise SystemExit("--gpu: there is no GPU here")
    print(GPU_TABLE if options.gpu else TABLE, flush=True)
    for name in options.only or CASES:
        with tempfile.TemporaryDirectory(dir=options.work, prefix="bench-memory-") as work:
            folder = made(name, Path(work))
            for row in [gpu_row(name, folder)] if options.gpu else rows_of(name, folder):
                print(row, flush=True)


if __name__ == "__main__":
    main()
