"""Checkpoints: a training resumes with the losses of an undisturbed one, keeps its best, and stops with one."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.spec import JobSpec
from job.train import stage as train_stage
from tests import forks
from tests.job.train.trainers import inputs_from, spec_of, trained, write_rows

pytestmark = pytest.mark.slow
STRANGE = [{"text": "ζξ§ ψω ¶¤ ξξζ"}]
"""Their loss gets worse as the model learns English."""


def test_the_same_spec_gives_the_same_adapter_and_starting_from_one_continues(
    tiny_model: Path, data: Path, tmp_path: Path
) -> None:
    first = trained(spec_of(tiny_model), data, tmp_path / "a")
    second = trained(spec_of(tiny_model), data, tmp_path / "b")
    name = "adapter_model.safetensors"
    assert (first.adapter / name).read_bytes() == (second.adapter / name).read_bytes()
    third = trained(spec_of(tiny_model), data, tmp_path / "c", adapter=first.adapter)
    assert third.loss_before == pytest.approx(first.loss_after, abs=1e-5)


def test_a_resumed_training_has_the_losses_of_an_undisturbed_one(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    def spec(**more: Any) -> JobSpec:
        return spec_of(tiny_model, training={"max_steps": 20, "save_steps": 4, "save_total_limit": 9} | more)

    whole = trained(spec(), data, tmp_path / "whole")
    for step in (8, 12):  # the end of an epoch, and the middle of the second
        kept = tmp_path / f"checkpoint-{step}"
        shutil.copytree(tmp_path / "whole" / "checkpoints" / kept.name, kept)
        resumed = trained(spec(), data, tmp_path / "resumed", resume_from=kept)
        assert resumed.losses == whole.losses
        assert resumed.loss_after == whole.loss_after


def test_a_checkpoint_of_the_last_step_needs_no_more_training(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_model, training={"max_steps": 4, "save_steps": 2})
    whole = trained(spec, data, tmp_path / "whole")
    kept = shutil.copytree(tmp_path / "whole" / "checkpoints" / "checkpoint-4", tmp_path / "kept")
    again = trained(spec, data, tmp_path / "again", resume_from=kept)
    assert again.losses == whole.losses
    name = "adapter_model.safetensors"
    assert (again.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def test_the_best_checkpoint_travels_with_later_ones(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    training = {"max_steps": 8, "save_steps": 2, "eval_steps": 2, "load_best_model_at_end": True, "save_total_limit": 9}
    spec = spec_of(tiny_model, training=training | {"learning_rate": 1.0, "lr_scheduler_type": "constant"})
    strange = write_rows(tmp_path / "strange.jsonl", STRANGE)
    inputs = inputs_from(spec, data, tmp_path, held_out=strange)
    whole = train_stage.run(spec, inputs, tmp_path / "whole")
    kept = shutil.copytree(tmp_path / "whole" / "checkpoints" / "checkpoint-6", tmp_path / "kept")
    shutil.rmtree(tmp_path / "whole" / "checkpoints")
    resumed = train_stage.run(spec, inputs.model_copy(update={"resume_from": kept}), tmp_path / "elsewhere")
    assert resumed.loss_after == whole.loss_after
    assert whole.loss_after == pytest.approx(min(one["eval_loss"] for one in whole.evals), abs=1e-5)


def test_the_best_checkpoint_is_taken_and_patience_ends(tiny_model: Path, data: Path, tmp_path: Path) -> None:
    training = {
        "max_steps": 12,
        "save_steps": 2,
        "eval_steps": 2,
        "learning_rate": 2e-2,  # larger ones are chaotic: where they end depends on the CPU
        "max_grad_norm": 0,
        "lr_scheduler_type": "constant",
        "load_best_model_at_end": True,
        "early_stopping_patience": 2,
    }
    strange = write_rows(tmp_path / "strange.jsonl", STRANGE)
    result = trained(spec_of(tiny_model, training=training), data, tmp_path / "work", held_out=strange)
    assert result.steps < 12
    assert result.loss_after == pytest.approx(min(one["eval_loss"] for one in result.evals), abs=1e-5)


@pytest.mark.parametrize("when", ["loading", "training"])
def test_sigterm_saves_a_checkpoint_or_says_that_there_is_none(
    tiny_model: Path, data: Path, tmp_path: Path, when: str
) -> None:
    spec = spec_of(tiny_model, training={"max_steps": 5000, "save_steps": 4000})
    inputs = inputs_from(spec, data, tmp_path)
    given = {"spec": spec.model_dump(mode="json"), "inputs": inputs.model_dump(mode="json")}
    (tmp_path / "inputs.json").write_text(json.dumps(given))
    child = subprocess.Popen(
        [forks.python(), "-m", "job", "stage", "train", str(tmp_path), "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.stdout
    wanted = '"train.log"' if when == "training" else '"train.loading_model"'
    for line in child.stdout:
        if wanted in line:
            child.send_signal(signal.SIGTERM)
            break
    rest = child.stdout.read()
    child.stdout.close()
    assert child.wait() == (75 if when == "training" else 76), rest
    assert not (tmp_path / "result.json").exists()
    assert bool(list((tmp_path / "checkpoints").glob("checkpoint-*"))) == (when == "training")
