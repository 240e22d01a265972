"""A checkpoint comes from the run store: whoever can write there cannot run code in the job."""

import ast
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from job.errors import IntegrityViolated
from job.train import resume
from job.train import stage as train_stage
from tests import ROOT
from tests.job.train.trainers import inputs_of, spec_of


class Planted:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Path, quotes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of step 2 of a training of four steps, beside the rows that it was trained on."""
    folder = tmp_path_factory.mktemp("whole")
    spec = spec_of(tiny_model, training={"max_steps": 4, "save_steps": 2})
    train_stage.run(spec, inputs_of(spec, tiny_model, folder / "tokens", _rows(quotes, folder)), folder)
    return folder / "checkpoints" / "checkpoint-2"


def _rows(quotes: Path, folder: Path) -> Path:
    rows = folder / "train.jsonl"
    rows.write_text(quotes.read_text().replace('"quote"', '"text"'))
    return rows


NAMES = [
    "adapter_config.json", "adapter_model.safetensors", "epoch_rng.pt", "optimizer.pt", "rng_state.pth", "scheduler.pt",
    "trainer_state.json", "training_args.bin", "adapter_model.bin", "pytorch_model.bin", "scaler.pt",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "by the Trainer alone"])
@pytest.mark.parametrize("name", NAMES)
def test_a_pickle_in_a_checkpoint_is_never_run(
    checkpoint: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_checked: bool
) -> None:
    planted = shutil.copytree(checkpoint, tmp_path / "step-2")
    (planted / name).write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    if not is_checked:
        monkeypatch.setattr(train_stage, "_check_checkpoint", lambda _: None)
    spec = spec_of(tiny_model, training={"max_steps": 4, "save_steps": 2})
    rows = checkpoint.parents[1] / "train.jsonl"
    inputs = inputs_of(spec, tiny_model, tmp_path / "tokens", rows, resume_from=planted)
    try:
        train_stage.run(spec, inputs, tmp_path / "work")
    except Exception as error:
        assert not is_checked or isinstance(error, IntegrityViolated), error
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_the_files_of_a_checkpoint_are_those_that_are_planted(checkpoint: Path) -> None:
    there = {path.name for path in checkpoint.iterdir()}
    assert there - {"README.md", "best"} <= {
        *NAMES,
        resume.HELD_OUT,
        *(name for name in there if name.startswith(("tokenizer", "chat_template"))),
    }
    resume.check_complete(checkpoint)
    resume.check_loads(checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "trainer_state.json", "optimizer.pt", "epoch_rng.pt"])
def test_a_checkpoint_that_lacks_a_file_cannot_be_resumed_from(checkpoint: Path, tmp_path: Path, name: str) -> None:
    lacking = shutil.copytree(checkpoint, tmp_path / "step-2")
    (lacking / name).unlink()
    with pytest.raises(IntegrityViolated, match=f"step-2 has no {name}"):
        resume.check_complete(lacking)


def _calls(name: str) -> list[tuple[Path, ast.Call]]:
    found = []
    for folder in ("job", "k8s", "push", "scripts", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            found += [(path, call) for call in calls if ast.unparse(call.func).endswith(name)]
    return found


@pytest.mark.slow
def test_a_pickle_that_the_job_does_not_write_is_refused_whatever_it_holds(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    planted = shutil.copytree(checkpoint, tmp_path / "step-2")
    torch.save({}, planted / "adapter_model.bin")
    with pytest.raises(IntegrityViolated, match=r"has adapter_model\.bin, which this job does not write"):
        resume.check_loads(planted)


def test_every_load_of_a_tensor_file_runs_no_code() -> None:
    calls = _calls("torch.load")
    assert calls
    for path, call in calls:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("weights_only") == "True", f"{path}:{call.lineno}"


@pytest.mark.parametrize(
    "name",
    ["pickle.load", "pickle.loads", "joblib.load", "dill.load", "marshal.loads", "shelve.open", "load_from_disk",
     "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"],
)  # fmt: skip
def test_no_other_deserializer_that_can_run_code_is_called(name: str) -> None:
    safe = ("Safe", "CSafe")
    found = [
        f"{path}:{call.lineno}"
        for path, call in _calls(name)
        if not (name == "yaml.load" and len(call.args) > 1 and any(word in ast.unparse(call.args[1]) for word in safe))
    ]
    assert not found


def test_arrays_are_loaded_without_pickles() -> None:
    for path, call in [*_calls("numpy.load"), *_calls("np.load")]:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}"
