"""Predicted memory and disk of each stage against what was measured, over models of several shapes.

    python -m bench.memory [--only train] [--work DIR]

Random Llamas; each stage runs as the job runs it, with the threads that OMP_NUM_THREADS allows. Measured is the peak
of anonymous memory (what no file backs) of the stage's processes, sampled every 20 ms, and the peak of what lies in
the work directory. With a GPU, the train stage's VRAM is what torch has reserved, with the CUDA context beside it.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from job import imatrix, judging, logs, memory
from job.anatomy import Anatomy, anatomy_of
from job.spec import JobSpec
from job.stages import export, quantize, train
from job.supervise import Supervisor
from tests.tiny_models import make_llama, training_text

MB = 1_000_000
EVERY_S = 0.02


@dataclass(frozen=True)
class Config:
    """A model's shape, and how it is trained."""

    name: str
    shape: dict[str, Any]
    load: dict[str, Any] = field(default_factory=dict)
    lora: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def shape(hidden: int, layers: int, intermediate: int, vocabulary: int, kv_heads: int = 4, heads: int = 8) -> Any:
    return {
        "hidden": hidden, "layers": layers, "intermediate": intermediate, "heads": heads, "kv_heads": kv_heads,
        "vocab_size": vocabulary, "dtype": "float16",
    }  # fmt: skip


CONFIGS = (
    Config("25M, 4 bits", shape(512, 6, 1408, 8000)),
    Config("66M, 4 bits, r 64", shape(768, 8, 2048, 8000), lora={"r": 64, "target_modules": "all-linear"}),
    Config("66M, 16 bits", shape(768, 8, 2048, 8000), load={"bits": 16}),
    Config("66M, 32 bits, no checkpoints", shape(768, 8, 2048, 8000), load={"bits": 32},
           training={"gradient_checkpointing": False, "per_device_train_batch_size": 2}),
    Config("98M, 32,000 words", shape(768, 8, 2048, 32000), training={"per_device_train_batch_size": 2}),
    Config("169M, 8 x 256 tokens", shape(1024, 12, 2816, 8000),
           training={"per_device_train_batch_size": 8, "max_length": 256}),
    Config("169M, 1 x 1024 tokens", shape(1024, 12, 2816, 8000),
           training={"per_device_train_batch_size": 1, "max_length": 1024}),
    Config("310M, deep, 32 bits", shape(1024, 24, 2816, 8000, kv_heads=8), load={"bits": 32},
           training={"per_device_train_batch_size": 2}),
    Config("268M, wide", shape(2048, 6, 5632, 8000), training={"per_device_train_batch_size": 2}),
)  # fmt: skip


class Watch:
    """The peak of the children's anonymous memory and of a folder's size, while it looks."""

    def __init__(self, folder: Path) -> None:
        self.memory = self.disk = 0
        self._folder, self._stopped = folder, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        this, looks = psutil.Process(), 0
        while not self._stopped.wait(EVERY_S):
            self.memory = max(self.memory, sum(map(_anonymous, this.children(recursive=True))))
            looks += 1
            if looks % 10 == 0:
                self.disk = max(self.disk, _size(self._folder))

    @classmethod
    @contextmanager
    def over(cls, folder: Path) -> Iterator["Watch"]:
        watch = cls(folder)
        watch._thread.start()
        try:
            yield watch
        finally:
            watch._stopped.set()
            watch._thread.join()


def _anonymous(process: Any) -> int:
    try:
        info = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(info.rss - info.shared)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() and not path.is_symlink() else 0
        except FileNotFoundError:
            continue
    return total


def spec_of(config: Config, rows: Path) -> JobSpec:
    training = {"max_steps": 3, "max_length": 512, "logging_steps": 1, "save_steps": 1000, "report_to": []}
    return JobSpec.model_validate(
        {
            "model": {"id": "a/b"},
            "dataset": {"id": str(rows)},
            "load": config.load,
            "lora": config.lora,
            "training": training | config.training,
            "evaluation": {"samples": 0, "judge": False},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="one stage")
    parser.add_argument("--work", type=Path, default=None)
    given = parser.parse_args()
    logs.configure(to_stdout=False)
    print("| model | stage | predicted, MB | measured, MB | ratio |\n| --- | --- | ---: | ---: | ---: |", flush=True)
    for config in CONFIGS:
        with tempfile.TemporaryDirectory(dir=given.work) as folder:
            for stage, predicted, measured in rows_of(config, Path(folder), given.only):
                ratio = f"{predicted / measured:.2f}" if measured else ""
                cells = (config.name, stage, f"{predicted / MB:,.0f}", f"{measured / MB:,.0f}", ratio)
                print(f"| {' | '.join(cells)} |", flush=True)


def rows_of(config: Config, work: Path, only: str) -> Iterator[tuple[str, float, float]]:
    """Stage, predicted and measured bytes."""
    model = make_llama(work / "model", **config.shape)
    text = [line for line in training_text().split("\n") if line] * 3
    data = work / "train.jsonl"
    long = [" ".join(text[n : n + 400]) for n in range(0, 3600, 100)]
    data.write_text("".join(json.dumps({"text": row}) + "\n" for row in long))
    spec = spec_of(config, data)
    anatomy = anatomy_of(json.loads((model / "config.json").read_text()), "model")
    if only in ("", "train"):
        yield from _train(spec, anatomy, model, data, work / "train")
    if only in ("", "export", "llama.cpp"):
        yield from _after(spec, anatomy, model, work)


def _train(spec: JobSpec, anatomy: Anatomy, model: Path, data: Path, work: Path) -> Iterator[tuple[str, float, float]]:
    import torch

    inputs = train.Inputs(model=model, train=data, kind="text")
    with Watch.over(work) as watch:
        result = Supervisor().run_stage(train, spec, inputs, work)
    if torch.cuda.is_available():
        yield "train, VRAM", memory.vram(spec, anatomy).total, result.memory["cuda_reserved"] + memory.CUDA_CONTEXT
    else:
        yield "train", memory.train_ram(spec, anatomy, on_gpu=False), watch.memory
    shutil.rmtree(work)


def _after(spec: JobSpec, anatomy: Anatomy, model: Path, work: Path) -> Iterator[tuple[str, float, float]]:
    with Watch.over(_folder(work / "export")) as watch:
        made = Supervisor().run_stage(export, spec, export.Inputs(model=model, name="m"), work / "export")
    yield "export", memory.export_ram(anatomy), watch.memory
    yield "export, disk", memory.export_bytes(anatomy, "f16"), watch.disk
    with Watch.over(work / "quantize") as watch:
        quantize._quantize(
            quantize.Inputs(gguf=made.gguf, type="q4_k_m"), _folder(work / "quantize") / "m.gguf",
            quantize.forecast(quantize.Inputs(gguf=made.gguf, type="q4_k_m")),
        )  # fmt: skip
    yield "quantize", memory.quantize_ram(anatomy, ["q4_k_m"]), watch.memory
    ids = work / "ids.txt"
    ids.write_text(" ".join(str(5 + n * 7919 % 1500) for n in range(4096)))
    with Watch.over(work) as watch:
        judging.perplexity(made.gguf, ids, context=512, chunks=8, logits=work / "logits.bin")
    yield "evaluate", memory.evaluate_ram(spec, anatomy), watch.memory
    text = work / "text.txt"
    text.write_text(training_text()[:100_000])
    with Watch.over(work) as watch:
        imatrix.make_imatrix(made.gguf, text, work / "imatrix.gguf", context=512)
    yield "imatrix", memory.imatrix_ram(spec, anatomy), watch.memory


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\n{time.monotonic() - started:.0f} s")
