"""Specs of small trainings, and the trainers that they make on this CPU."""

import json
from pathlib import Path
from typing import Any

from job.spec import JobSpec
from job.tokens import stage as tokens_stage
from job.train import stage as train_stage
from job.train.precision import Precision
from job.train.trainer import make_trainer

ON_THE_CPU = Precision(cuda=False, compute="float32", fp16=False, bf16=False)


def spec_of(model: Path, **sections: Any) -> JobSpec:
    """Two steps of two short rows, without samples."""
    training = {
        "max_steps": 2,
        "max_length": 48,
        "per_device_train_batch_size": 2,
        "save_steps": 100,
        "logging_steps": 1,
    } | sections.pop("training", {})
    base = {"model": {"id": str(model)}, "dataset": {"id": "./rows.jsonl"}, "evaluation": {"samples": 0}}
    return JobSpec.model_validate(base | {"training": training} | sections)


def inputs_of(
    spec: JobSpec, model: Path, folder: Path, train: Path, held_out: Path | None = None, kind: str = "text", **more: Any
) -> train_stage.Inputs:
    """Those of a training on files of rows, which become tokens in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    given = tokens_stage.Inputs(model=model, train=train, rows=held_out, kind=kind)
    made = tokens_stage.run(spec, given, folder)
    assert made.train
    given = {"prompts": made.prompts, "added": made.added}
    return train_stage.Inputs(model=model, train=made.train.path, eval=made.eval and made.eval.path, **given, **more)


class NeverStops:
    asked = training = False


def trainer_of(spec: JobSpec, model: Path, rows: Path, folder: Path, kind: Any = "text") -> Any:
    """With `rows` to train and to evaluate on."""
    from job.tokens.tokenizer import load_tokenizer
    from job.train.model import load_base, with_adapter

    tokenizer = load_tokenizer(spec, model)
    peft = with_adapter(spec, load_base(spec, model, ON_THE_CPU), None)
    inputs = inputs_of(spec, model, folder / "tokens", rows, rows, kind)
    return make_trainer(spec, inputs, folder, peft, tokenizer, ON_THE_CPU, NeverStops())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def inputs_from(
    spec: JobSpec, data: Path, folder: Path, kind: Any = "text", held_out: Path | None = None, **more: Any
) -> train_stage.Inputs:
    """Those of a training on the rows of one kind in the folder `data`."""
    rows = [data / f"{kind}.jsonl", held_out or data / f"{kind}-eval.jsonl"]
    return inputs_of(spec, Path(spec.model.id), folder / "tokens", *rows, kind, **more)


def trained(spec: JobSpec, data: Path, folder: Path, *args: Any, **more: Any) -> train_stage.Result:
    return train_stage.run(spec, inputs_from(spec, data, folder, *args, **more), folder)


def adapter_of(result: train_stage.Result) -> dict[str, Any]:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(result.adapter / "adapter_model.safetensors")
    return weights
