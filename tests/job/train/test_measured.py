"""What is measured around the training: in batches it is what it is one at a time, and nothing is measured twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.tokens.stage import Prompt
from job.train import samples, trace
from job.train import stage as train_stage
from tests.job.train.trainers import ON_THE_CPU, NeverStops, inputs_of, spec_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    texts = [f"Of time and {'life ' * (n % 5)}the {n}th is the greater, said {n}." for n in range(16)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def loaded_of(model: Path, rows: Path, folder: Path, batch: int) -> Any:
    """The spec, and the model with an adapter that changes its answers."""
    import torch

    settings = {"context": 32, "max_new_tokens": 12}
    spec = spec_of(model, training={"per_device_eval_batch_size": batch}, evaluation=settings)
    inputs = inputs_of(spec, model, folder / "tokens", rows, rows)
    loaded = train_stage.load(spec, inputs, folder, NeverStops())
    torch.manual_seed(3)
    for name, weight in loaded.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return spec, inputs, loaded


def test_windows_and_answers_in_batches_are_as_one_at_a_time(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    found = []
    for batch in (1, 3):
        spec, inputs, loaded = loaded_of(tiny_model, rows, tmp_path / str(batch), batch)
        traced = trace.trace(spec, loaded.model, loaded.tokenizer, inputs.eval, ON_THE_CPU)
        texts = ["Of time and", "Of", "Of time and life life the greater,", "said"]
        ids = [loaded.tokenizer(text)["input_ids"] for text in texts]
        prompts = [Prompt(shown=text, ids=one, text=text, reference="") for text, one in zip(texts, ids, strict=True)]
        found.append((traced, samples.compare(spec, loaded.model, loaded.tokenizer, prompts)))
    (first, one_by_one), (second, together) = found
    assert first and second and first.chunks > 4 and first.chunks % 3, "the last batch is not whole"
    assert second.base.value == pytest.approx(first.base.value, rel=1e-5)
    assert second.tuned.value == pytest.approx(first.tuned.value, rel=1e-5)
    assert second.ratio_error == pytest.approx(first.ratio_error, rel=1e-4)
    assert second.tops == first.tops
    assert together == one_by_one
    assert any(one["before"] != one["after"] for one in together)


@pytest.mark.parametrize(("steps", "passes"), [(4, 3), (3, 3)], ids=["evaluated at the last step", "not"])
def test_the_last_step_is_evaluated_once(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, passes: int
) -> None:
    from transformers import Trainer

    begun, loop = [], Trainer.evaluation_loop
    monkeypatch.setattr(Trainer, "evaluation_loop", lambda *a, **o: begun.append(1) or loop(*a, **o))
    training = {"max_steps": steps, "save_steps": 2}
    spec = spec_of(tiny_model, training=training, evaluation={"judge": False, "samples": 0})
    inputs = inputs_of(spec, tiny_model, tmp_path / "tokens", rows, rows)
    result = train_stage.run(spec, inputs, tmp_path / "work")
    assert len(begun) == passes, "the base, each two steps, and the end if it is not one of them"
    monkeypatch.setattr(train_stage, "last_evaluation", train_stage.evaluated)
    again = train_stage.run(spec, inputs, tmp_path / "again")
    assert result.loss_after == pytest.approx(again.loss_after, abs=1e-6)
