"""Rows of a file as the tokens stage makes them: what the train stage takes, and a text for an importance matrix."""

from pathlib import Path

from job.spec import JobSpec
from job.tokens import stage as tokens
from job.train import stage as train_stage


def train_inputs(spec: JobSpec, model: Path, rows: Path, folder: Path) -> train_stage.Inputs:
    """The inputs of a training on a file of text rows, which become tokens in `folder`."""
    made = _made(spec, model, rows, folder)
    assert made.train
    return train_stage.Inputs(model=model, train=made.train.path, prompts=made.prompts, added=made.added)


def calibration_text(spec: JobSpec, model: Path, rows: Path, folder: Path) -> Path:
    """The text that the job would make an importance matrix from."""
    found = _made(spec, model, rows, folder).calibration
    assert found
    return found


def _made(spec: JobSpec, model: Path, rows: Path, folder: Path) -> tokens.Result:
    folder.mkdir(parents=True, exist_ok=True)
    return tokens.run(spec, tokens.Inputs(model=model, train=rows), folder)
