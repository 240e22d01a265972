"""Adds what transformers.Trainer lacks for resuming on another node.

A checkpoint may be resumed on any node in any folder, so each later checkpoint contains the best one's adapter as
`best/`. And the Trainer, given a checkpoint of the last step, would train one step more.
"""

import json
import shutil
from pathlib import Path
from typing import Any

STATE = "trainer_state.json"
BEST = "best"
_ADAPTER = ("adapter_model.safetensors", "adapter_config.json")


def carry_best(checkpoint: Path, best: Path | None) -> None:
    """Copies the best checkpoint's adapter into a later one."""
    if best is None or best == checkpoint or not best.is_dir():
        return
    (checkpoint / BEST).mkdir(exist_ok=True)
    for name in _ADAPTER:
        shutil.copy2(best / name, checkpoint / BEST / name)


def restore_best(checkpoint: Path, checkpoints: Path) -> None:
    """Puts the best adapter where the Trainer looks for it, and sets that path in the Trainer's state."""
    state = json.loads((checkpoint / STATE).read_text())
    if not state.get("best_model_checkpoint"):
        return
    name = Path(state["best_model_checkpoint"]).name
    source = checkpoint / BEST if (checkpoint / BEST).is_dir() else checkpoint
    (checkpoints / name).mkdir(parents=True, exist_ok=True)
    for file in _ADAPTER:
        shutil.copy2(source / file, checkpoints / name / file)
    state["best_model_checkpoint"] = str(checkpoints / name)
    (checkpoint / STATE).write_text(json.dumps(state))


def is_finished(checkpoint: Path) -> bool:
    """Whether a checkpoint is of the last step."""
    state = json.loads((checkpoint / STATE).read_text())
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
