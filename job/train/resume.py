"""Adds what transformers.Trainer lacks for resuming on another node.

A checkpoint may be resumed on any node in any folder, so each later checkpoint contains the best one's adapter as
`best/`. And the Trainer, given a checkpoint of the last step, would train one step more.

Checkpoints come from the run store. Whoever can write there must not be able to run code here, so pickles are loaded
with `weights_only=True` alone, and a checkpoint that lacks something, or cannot be loaded so, is passed over.
"""

import json
import re
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from job import strict_json
from job.errors import IntegrityViolated

STATE = "trainer_state.json"
BEST = "best"
EPOCH_RNG = "epoch_rng.pt"
HELD_OUT = "held_out.sha256"
"""In each checkpoint: the hash of the held-out rows that its losses are of."""
_ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
_PICKLES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", EPOCH_RNG)
_MAY_BE = ("scaler.pt", "training_args.bin")


def check_complete(checkpoint: Path) -> None:
    """Raises IntegrityViolated if a checkpoint lacks something that resuming needs. Loads nothing."""
    best = [f"{BEST}/{name}" for name in _ADAPTER] if (checkpoint / BEST).exists() else []
    missing = [name for name in (STATE, *_ADAPTER, *_PICKLES, *best) if not (checkpoint / name).is_file()]
    if missing:
        raise IntegrityViolated(f"{checkpoint.name} has no {', '.join(missing)}")
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        best_name = Path(state["best_model_checkpoint"] or "checkpoint-0").name
        usable = isinstance(state["global_step"], int) and isinstance(state["max_steps"], int)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityViolated(f"{checkpoint.name}: {STATE} is not a trainer's state: {error!r}") from error
    if not usable or not re.fullmatch(r"checkpoint-\d+", best_name):
        raise IntegrityViolated(f"{checkpoint.name}: {STATE} is not a trainer's state")


def check_loads(checkpoint: Path) -> None:
    """Loads everything as the Trainer will. Raises IntegrityViolated if something is damaged, or would run code."""
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers.trainer_pt_utils import safe_globals

    pickles = {path.name for path in checkpoint.rglob("*") if path.suffix in (".bin", ".pt", ".pth")}
    if others := pickles - {*_PICKLES, *_MAY_BE}:
        raise IntegrityViolated(f"{checkpoint.name} has {', '.join(sorted(others))}, which this job does not write")
    name = _ADAPTER[0]
    try:
        with safe_open(checkpoint / name, "pt"):
            pass
        with safe_globals():
            for name in sorted(pickles - {"training_args.bin"}):  # that one is written, and never read
                torch.load(checkpoint / name, map_location="cpu", weights_only=True)
    except (OSError, EOFError, ValueError, RuntimeError, UnpicklingError, SafetensorError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IntegrityViolated(f"{checkpoint.name}: {name} cannot be loaded: {why}") from error


def carry_best(checkpoint: Path, best: Path | None) -> None:
    """Copies the best checkpoint's adapter into a later one."""
    if best is None or best == checkpoint or not best.is_dir():
        return
    (checkpoint / BEST).mkdir(exist_ok=True)
    for name in _ADAPTER:
        shutil.copy2(best / name, checkpoint / BEST / name)


def restore_best(checkpoint: Path, checkpoints: Path) -> None:
    """Puts the best adapter where the Trainer looks for it, and sets that path in the Trainer's state."""
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    if not state.get("best_model_checkpoint"):
        return
    name = Path(state["best_model_checkpoint"]).name
    source = checkpoint / BEST if (checkpoint / BEST).is_dir() else checkpoint
    (checkpoints / name).mkdir(parents=True, exist_ok=True)
    for file in _ADAPTER:
        shutil.copy2(source / file, checkpoints / name / file)
    state["best_model_checkpoint"] = str(checkpoints / name)
    (checkpoint / STATE).write_text(strict_json.dumps(state), encoding="utf-8")


def note_rows(checkpoint: Path, rows: str | None) -> None:
    """Writes which held-out rows the checkpoint's losses are of."""
    (checkpoint / HELD_OUT).write_text(rows or "", encoding="utf-8")


def drop_other_losses(checkpoint: Path, rows: str | None) -> None:
    """Removes the held-out losses of other rows from the Trainer's state: a curve is of one set of rows."""
    note = checkpoint / HELD_OUT
    if note.is_file() and note.read_text(encoding="utf-8", errors="replace") == (rows or ""):
        return
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    state["log_history"] = [entry for entry in state["log_history"] if "eval_loss" not in entry]
    (checkpoint / STATE).write_text(strict_json.dumps(state), encoding="utf-8")


def is_finished(checkpoint: Path) -> bool:
    """Whether a checkpoint is of the last step."""
    state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    return bool(state["global_step"] >= state["max_steps"])


def train(trainer: Any, checkpoint: Path | None) -> None:
    """Trains from the checkpoint on. If it is of the last step, only loads it."""
    if checkpoint is None or not is_finished(checkpoint):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return
    from transformers import TrainerState

    trainer.state = TrainerState.load_from_json(str(checkpoint / STATE))
    best = trainer.state.best_model_checkpoint if trainer.args.load_best_model_at_end else None
    trainer._load_from_checkpoint(best or str(checkpoint))
