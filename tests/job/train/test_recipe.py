"""The recipe is the recipe: this job's loss curve is that of a plain script with the same data, seed and arguments."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from job.spec import JobSpec
from job.train import stage as train_stage
from tests import plain_training
from tests.job.train.trainers import inputs_of

pytestmark = pytest.mark.slow

STEPS = 16


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of differing length, so that grouping by length and padding have something to do."""
    path = tmp_path_factory.mktemp("recipe") / "train.jsonl"
    words = ["time", "life", "love", "truth", "hope", "work", "art", "mind", "soul", "sea"]
    texts = [f"Of {' and '.join(words[: n % 9 + 1])}, {words[n % 10]} is the greatest, said {n}." for n in range(32)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def job_losses(
    model: Path,
    rows: Path,
    out: Path,
    trainer: str,
    dropout: float = 0.1,
    load: dict[str, Any] | None = None,
    **changes: Any,
) -> train_stage.Result:
    spec = JobSpec.model_validate(
        {
            "model": {"id": str(model)},
            "dataset": {"id": "./rows.jsonl"},
            "training": {
                "trainer": trainer,
                "max_length": 48,
                "per_device_train_batch_size": 2,
                "warmup_ratio": 0.15,
                "save_steps": 1000,
            }
            | changes,
            "lora": {"dropout": dropout},
            "load": load or {},
            "evaluation": {"samples": 0},
        }
    )
    return train_stage.run(spec, inputs_of(spec, model, out / "tokens", rows), out)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("trainer", ["transformers", "trl"])
def test_the_loss_curve_is_that_of_the_plain_script(
    tiny_model: Path, rows: Path, tmp_path: Path, trainer: str, accumulation: int
) -> None:
    epochs = accumulation
    changes = {"gradient_accumulation_steps": accumulation, "num_train_epochs": epochs}
    plain = getattr(plain_training, f"with_{trainer}")(tiny_model, rows, tmp_path / "plain", **changes)
    mine = job_losses(tiny_model, rows, tmp_path / "job", trainer, **changes)
    assert len(plain) == STEPS
    assert [one["loss"] for one in mine.losses] == pytest.approx(plain, abs=1e-4)

    rates = [one["learning_rate"] for one in mine.losses]
    assert rates[0] < rates[2] and rates[-1] < max(rates) / 2, "warm-up and decay must both show"
    assert all(one["grad_norm"] > 0.3 for one in mine.losses), "clipping must be at work"
    os.environ.pop("TENSORBOARD_LOGGING_DIR", None)


@pytest.mark.parametrize("frozen", ["float32", "compute"])
@pytest.mark.parametrize("trainer", ["transformers", "trl"])
def test_in_bfloat16_the_loss_curve_is_that_of_the_plain_script_with_and_without_its_cast(
    tiny_model: Path, rows: Path, tmp_path: Path, trainer: str, frozen: str
) -> None:
    import torch

    options = {"dtype": torch.bfloat16, "cast": frozen == "float32"}
    plain = getattr(plain_training, f"with_{trainer}")(
        tiny_model, rows, tmp_path / "plain", **options, bf16=True, max_steps=4
    )
    load = {"compute_dtype": "bfloat16", "frozen_dtype": frozen}
    mine = job_losses(tiny_model, rows, tmp_path / "job", trainer, load=load, bf16=True, max_steps=4)
    assert [one["loss"] for one in mine.losses] == pytest.approx(plain, abs=1e-4)
    os.environ.pop("TENSORBOARD_LOGGING_DIR", None)


def test_trl_trains_eos_and_the_collator_of_transformers_does_not(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    curves = [
        [one["loss"] for one in job_losses(tiny_model, rows, tmp_path / trainer, trainer, max_steps=2).losses]
        for trainer in ("trl", "transformers")
    ]
    assert curves[0] != pytest.approx(curves[1], abs=1e-4)


def test_packed_rows_one_at_a_time_are_the_batches_of_the_plain_script(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """TRL joins the rows of a batch into one, over all of which attention is computed; the steps are the same."""
    changes = {"packing": True, "max_steps": 6, "group_by_length": False}
    plain = plain_training.with_trl(
        tiny_model, rows, tmp_path / "plain", packing=True, max_steps=6, train_sampling_strategy="random", dropout=0.0
    )
    mine = job_losses(tiny_model, rows, tmp_path / "job", "trl", dropout=0.0, **changes)
    assert [one["loss"] for one in mine.losses] == pytest.approx(plain, abs=1e-4)


def test_packed_rows_go_through_the_model_one_at_a_time(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    from tests.job.train.trainers import spec_of, trainer_of

    spec = spec_of(tiny_model, training={"packing": True, "per_device_train_batch_size": 3})
    trainer = trainer_of(spec, tiny_model, rows, tmp_path)
    assert trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps == 3
    assert next(iter(trainer.get_train_dataloader()))["input_ids"].shape[1] <= spec.training.max_length
