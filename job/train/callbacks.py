"""Callbacks of the trainers: events, checkpoints that resume exactly, NaN, and the end by SIGTERM.

Imports transformers.
"""

import json
import math
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import torch
from transformers import TrainerCallback

from job import strict_json
from job.errors import QualityRejected, StoppedSaved, StoppedUnsaved
from job.logs import Progress, log
from job.train.resume import EPOCH_RNG, carry_best, note_rows


def peak_memory() -> dict[str, int]:
    """Bytes: `rss` now and its peak, and the peak of the GPU's memory that torch has allocated and reserved."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if ":" in line
    )
    found = {name: int(fields[field].split()[0]) * 1024 for name, field in (("rss", "VmRSS"), ("rss_peak", "VmHWM"))}
    if torch.cuda.is_available():
        found["cuda_peak"] = torch.cuda.max_memory_allocated()
        found["cuda_reserved"] = torch.cuda.max_memory_reserved()
    return found


class StopSignal:
    """Stops after SIGTERM: at once before the first step, else at the end of the step, with a checkpoint."""

    def __init__(self) -> None:
        self.asked = self.training = self.trained = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, _: Any) -> None:
        self.asked = True
        if self.trained:
            raise StoppedSaved("stopped by a signal after the last step; its checkpoint is saved")
        if not self.training:
            raise StoppedUnsaved("stopped by a signal before the first step")


class Events(TrainerCallback):  # type: ignore[misc]
    """`train.log` every logging_steps, `train.eval`, `train.checkpoint` when one is complete."""

    def __init__(self, every: int, stop: StopSignal) -> None:
        self._every, self._stop = every, stop
        self._losses: list[float] = []
        self._since = (time.monotonic(), 0)
        self._first: tuple[float, int] | None = None
        self._seen_before = self._seen = 0
        self._step_began = self._seconds = 0.0
        self._held_out: Progress | None = None
        self._batches = 0

    @property
    def tokens_per_second(self) -> float | None:
        """During steps only, without evaluations and checkpoints. The Trainer's own train_runtime is too short if it
        has evaluated."""
        return round((self._seen - self._seen_before) / self._seconds, 1) if self._seconds else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._seen_before = self._seen = state.num_input_tokens_seen

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._step_began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._seconds += time.monotonic() - self._step_began
        self._seen = state.num_input_tokens_seen
        if self._stop.asked:
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise QualityRejected(
                f"the loss is {loss} at step {state.global_step}",
                hint="Set training.learning_rate lower, or check the rows; float16 overflows sooner than bfloat16.",
            )
        self._losses.append(loss)
        now = time.monotonic()
        self._first = self._first or (now, state.global_step)
        if state.global_step % self._every and state.global_step != state.max_steps:
            return
        seconds, seen = now - self._since[0], state.num_input_tokens_seen - self._since[1]
        self._since = (now, state.num_input_tokens_seen)
        done = state.global_step - self._first[1]
        left = state.max_steps - state.global_step
        log.info(
            "train.log",
            step=state.global_step,
            total=state.max_steps,
            epoch=round(state.epoch or 0, 3),
            loss=round(sum(self._losses) / len(self._losses), 6),
            learning_rate=logs.get("learning_rate"),
            grad_norm=logs.get("grad_norm"),
            tokens_per_second=round(seen / seconds, 1) if seconds > 0 else None,
            eta_s=round((now - self._first[0]) / done * left) if done else None,
            **peak_memory(),
        )
        self._losses.clear()

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any, **_: Any) -> None:
        total = len(eval_dataloader)
        if self._held_out is None:
            self._held_out, self._batches = Progress("held-out rows", total, "batches"), 0
        self._batches += 1
        self._held_out.update(self._batches)
        if self._batches >= total:
            self._held_out = None

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        log.info("train.eval", step=state.global_step, loss=metrics.get("eval_loss"))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        path = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        log.info("train.checkpoint", step=state.global_step, path=str(path))


class ResumableCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Makes a resume in the middle of an epoch use the same order of rows, and keeps the best adapter in each
    checkpoint.

    The sampler draws an epoch's order from torch's global generator when the epoch begins. The Trainer restores
    the generators of a checkpoint only after that, so the order would be that of a fresh process. Their state at
    the epoch's beginning is kept beside each checkpoint and put back. Must come before `Events`, which announces
    the checkpoint. `rows`: the hash of the held-out rows.
    """

    def __init__(self, resume_from: Path | None, rows: str | None = None) -> None:
        self._rows = rows
        self._resume: dict[str, Any] | None = None
        if resume_from:
            self._resume = torch.load(resume_from / EPOCH_RNG, weights_only=True)
        self._now: dict[str, Any] = {}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = int(state.epoch or 0)
        if self._resume is not None and self._resume["epoch"] == epoch:
            set_generators(self._resume)
        self._resume = None
        self._now = {"epoch": epoch} | generators()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        torch.save(self._now, checkpoint / EPOCH_RNG)
        note_rows(checkpoint, self._rows)
        carry_best(checkpoint, Path(state.best_model_checkpoint) if state.best_model_checkpoint else None)


def generators() -> dict[str, Any]:
    """The state of every global random generator, as tensors and JSON, which load without running code."""
    name, keys, *rest = numpy.random.get_state()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": strict_json.dumps([name, numpy.asarray(keys).tolist(), *rest]),
        "python": strict_json.dumps(random.getstate()),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_generators(state: dict[str, Any]) -> None:
    """Restores the state that `generators` returned."""
    torch.set_rng_state(state["torch"])
    name, keys, *rest = json.loads(state["numpy"])
    numpy.random.set_state((name, numpy.array(keys, dtype=numpy.uint32), *rest))
    version, internal, gauss = json.loads(state["python"])
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
