"""What is measured around the training: in batches it is what it is one at a time, and nothing is measured twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.tokens import files
from job.tokens.stage import Prompt
from job.train import measure, samples, trace
from job.train import stage as train_stage
from job.train.trainer import evaluated
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


def test_a_text_is_judged_as_rows_of_the_same_tokens(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    spec, inputs, loaded = loaded_of(tiny_model, rows, tmp_path / "0", 2)
    assert inputs.eval
    ids = [token for row in files.ids_of(inputs.eval) for token in row]
    (tmp_path / "ids.txt").write_text(" ".join(map(str, ids)) + "\n")
    text = trace.trace_text(spec, loaded.model, loaded.tokenizer, tmp_path / "ids.txt", ON_THE_CPU)
    held_out = trace.trace(spec, loaded.model, loaded.tokenizer, inputs.eval, ON_THE_CPU)
    assert text and held_out and text.tuned.value != text.base.value
    assert dict(text) == {name: getattr(held_out, name) for name in trace.Traced.model_fields}


def test_without_held_out_rows_the_text_alone_is_measured(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    """At the end of a training, and later of the adapter that it made."""
    spec = spec_of(tiny_model, training={"max_steps": 2}, evaluation={"context": 32, "samples": 0})
    inputs = inputs_of(spec, tiny_model, tmp_path / "tokens", rows, None)
    (tmp_path / "ids.txt").write_text(" ".join(str(3 + n % 50) for n in range(400)))
    result = train_stage.run(spec, inputs.model_copy(update={"text": tmp_path / "ids.txt"}), tmp_path / "work")
    assert result.trace is None and result.text_trace
    again = measure.run(
        spec,
        measure.Inputs(model=tiny_model, trained=result.adapter, rows=inputs.train, text=tmp_path / "ids.txt"),
        tmp_path / "again",
    )
    assert again.text_trace and again.text_trace.tuned.value == pytest.approx(result.text_trace.tuned.value, rel=1e-5)


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
    monkeypatch.setattr(train_stage, "last_evaluation", evaluated)
    again = train_stage.run(spec, inputs, tmp_path / "again")
    assert result.loss_after == pytest.approx(again.loss_after, abs=1e-6)
