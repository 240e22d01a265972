"""The job's train stage under a clock: tokens per second, and the GPU's memory against its prediction."""

import json
import math
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import TrainerCallback
from trl.kernels import chunked_logprob

from bench.gpu.model import folder_of, write_rows
from bench.gpu.record import Bench, Line
from bench.rows_as_tokens import train_inputs
from job.predict import vram
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.checkpointing import Checkpointing, choose
from job.run.supervise import environment
from job.spec import JobSpec
from job.train import stage as train_stage

Changes = dict[str, dict[str, Any]]
BATCH = 4
WARM_UP = 2
"""Steps at the start that do not count."""
FULL = 1.4
"""Words of a row as a share of max_length, from which every row fills max_length: a word has one token at least."""


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ends and how many tokens were seen, and the peaks of memory after loading."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, int]] = []
        self.memory: dict[str, int] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.steps and torch.cuda.is_available():
            self.memory["load_peak"] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps.append((time.monotonic(), int(state.num_input_tokens_seen)))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            self.memory["allocated"] = torch.cuda.max_memory_allocated()
            self.memory["reserved"] = torch.cuda.max_memory_reserved()

    def measured(self) -> Line:
        """`tokens_per_s`: the median of the steps. Bytes, on a GPU: `load_peak` of loading, `allocated` and `reserved`
        of training."""
        counted = self.steps[WARM_UP - 1 :]
        speeds = [(seen - before) / (end - start) for (start, before), (end, seen) in pairwise(counted)]
        return {"tokens_per_s": round(statistics.median(speeds), 1), "steps": len(self.steps), **self.memory}


def length(bench: Bench) -> int:
    """max_length."""
    return 64 if bench.tiny else 1024


def rows(bench: Bench, folder: Path, steps: int, share: float = FULL, *, is_packed: bool = False) -> Path:
    """Rows for so many steps, as long as `share` says of max_length; packed, they still fill the steps."""
    count = math.ceil(steps * BATCH / min(share, 1)) if is_packed else steps * BATCH
    return write_rows(folder / "rows.jsonl", count, max(4, int(share * length(bench))))


def precision(half: str) -> Changes:
    """The spec of float16 or bfloat16, whatever `auto` would choose. float16's gradient scaler needs a GPU: without
    one it is float32."""
    if half == "fp16":
        return {"training": {"fp16": True}, "load": {"compute_dtype": "float16"}} if torch.cuda.is_available() else {}
    return {"training": {"bf16": True}, "load": {"compute_dtype": "bfloat16"}}


def spec_of(bench: Bench, model: str, steps: int, *changes: Changes) -> JobSpec:
    """The recipe's defaults for so many steps."""
    training = {"max_steps": steps, "max_length": length(bench), "per_device_train_batch_size": BATCH, "report_to": []}
    sections: dict[str, Any] = {
        "model": {"id": str(folder_of(bench, model))},
        "dataset": {"id": "./rows.jsonl"},
        "evaluation": {"samples": 0},
        "training": training,
    }
    for change in changes:
        for section, fields in change.items():
            sections[section] = sections.get(section, {}) | fields
    return JobSpec.model_validate(sections)


def train_job(bench: Bench, model: str, spec: JobSpec, share: float = FULL, memory: int | None = None) -> Line:
    """The job's own train stage: what the clock has measured, the last loss and what `plan` predicts.

    `memory`: bytes of the GPU that `training.gradient_checkpointing: auto` is to choose for; None: all is recomputed.
    `skipped_steps`: those that float16's gradient scaler left out, as it does until it has found its scale.
    """
    assert spec.training
    os.environ.update(environment())
    clock, folder = Clock(), folder_of(bench, model)
    make = train_stage.make_trainer

    def with_clock(*arguments: Any) -> Any:
        trainer = make(*arguments)
        trainer.add_callback(clock)
        return trainer

    with tempfile.TemporaryDirectory(dir=bench.work) as work, patch.object(train_stage, "make_trainer", with_clock):
        data = rows(bench, Path(work), spec.training.max_steps, share, is_packed=spec.training.packing)
        inputs = train_inputs(spec, folder, data, Path(work) / "tokens")
        chosen = choose(spec, anatomy(folder), memory, None, triton=has_triton()) if memory else None
        if chosen:
            inputs = inputs.model_copy(update={"recompute_every": chosen.every})
        result = train_stage.run(spec, inputs, Path(work) / "train")
    skipped = sum(step.get("grad_norm", 0.0) is None for step in result.losses)
    fields = {"model": model, "device": device(), "loss": finite(result.losses[-1]["loss"]), "skipped_steps": skipped}
    fields |= {"recompute_every": chosen.every} if chosen else {}
    return fields | clock.measured() | predicted(spec, folder, chosen, clock.memory.get("allocated"))


def predicted(spec: JobSpec, folder: Path, chosen: Checkpointing | None, allocated: int | None) -> Line:
    """Bytes: `predicted` without the CUDA context, which torch does not count, `context`, and the parts; `ratio` to
    what was allocated."""
    triton = has_triton()
    needed = vram.vram(spec, anatomy(folder), triton=triton)
    without = (chosen.needed if chosen and chosen.needed else needed.total) - needed.context
    fields: Line = {"predicted": without, "context": needed.context, "predicted_parts": needed.model_dump()}
    return fields | {"triton": triton} | ({"ratio": round(without / allocated, 3)} if allocated else {})


def anatomy(folder: Path) -> Anatomy:
    return anatomy_of(json.loads((folder / "config.json").read_text()), "m")


def has_triton() -> bool:
    """Whether TRL's loss is computed with it."""
    return bool(chunked_logprob._use_triton(torch.device(device_type())))


def finite(number: float) -> float | None:
    """The number, or None for NaN and infinity, which JSON does not have."""
    return number if math.isfinite(number) else None


def device_type() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def device() -> str:
    """The GPU's name, or `cpu`."""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "cpu"
