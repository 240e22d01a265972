"""Whole runs of a model, and with a store, whose files were made to command the job."""

import json
import os
import pickle
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import artifacts_below
from job.run.checkpoints import Complete
from tests.job_process import Ended, Event, run_job

pytestmark = pytest.mark.slow


def spec_of(model: Path, quotes: Path, root: Path, **training: Any) -> dict[str, Any]:
    """A training alone, of ten steps with a checkpoint every two."""
    steps = {"max_steps": 10, "max_length": 48, "save_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    return {
        "model": {"id": str(model)},
        "dataset": {"id": str(quotes), "text": "quote"},
        "training": steps | training,
        "evaluation": {"samples": 0, "judge": False},
        "export": {"types": ["q8_0"]},
        "publish": {"name": "tiny", "folder": str(root / "published")},
        "run": {"id": "trusted", "store": str(root / "store")},
    }


def test_the_name_of_a_tensor_is_not_an_event(tiny_model: Path, quotes: Path, tmp_path: Path) -> None:
    """transformers prints the names of tensors that it does not expect as they are."""
    import torch
    from safetensors.torch import load_file, save_file

    secrets = tmp_path / "mounted"
    secrets.mkdir()
    (secrets / "token").write_text("a secret of somebody's")
    model = shutil.copytree(tiny_model, tmp_path / "model")
    forged = {"event": "train.checkpoint", "step": 99, "path": str(secrets)}
    tensors = load_file(model / "model.safetensors") | {f"x\n{json.dumps(forged)}\n": torch.zeros(1)}
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    ended = run_job(spec_of(model, quotes, tmp_path, max_steps=2), tmp_path / "work")
    assert [one["step"] for one in ended.named("train.checkpoint")] == [2]
    assert not [path for path in (tmp_path / "store").rglob("*") if path.name == "token"]
    for line in ended.output.splitlines():
        assert not line.startswith('{"event": "train.checkpoint", "step": 99'), "the pod's log has it as an event"


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("fault", ["a pickle", "a missing file"])
def test_a_checkpoint_that_cannot_be_resumed_from_is_passed_over(
    tiny_model: Path, quotes: Path, tmp_path: Path, fault: str
) -> None:
    spec = spec_of(tiny_model, quotes, tmp_path)
    _stopped(spec, tmp_path / "work")
    checkpoints = sorted((tmp_path / "store").glob("stages/train/*/checkpoints/step-*"))
    newest = checkpoints[-1]
    assert len(checkpoints) > 1
    if fault == "a pickle":
        (newest / "optimizer.pt").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    else:
        (newest / "trainer_state.json").unlink()
    (newest / "COMPLETE.json").unlink()
    mark = Complete(step=int(newest.name[5:]), files=artifacts_below(newest))
    (newest / "COMPLETE.json").write_text(mark.model_dump_json())
    shutil.rmtree(tmp_path / "work")
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    assert not (tmp_path / "ran").exists()
    told = ended.named("train.checkpoint_unusable" if fault == "a pickle" else "checkpoint.damaged")
    assert [one["step"] for one in told] == [int(newest.name[5:])]
    assert ended.named("train.resume")[-1]["step"] == int(checkpoints[-2].name[5:])


def _stopped(spec: dict[str, Any], work: Path) -> Ended:
    def stop(process: subprocess.Popen[str], event: Event) -> None:
        if event["event"] == "checkpoint.stored" and event["step"] >= 4:
            process.send_signal(signal.SIGTERM)

    ended = run_job(spec, work, on_event=stop)
    assert ended.code == 75, ended.output
    return ended


def _large_template(model: Path, rows: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ 'a' * 3000000000 }}")
    chats = [
        {"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": f"{n}"}]} for n in "abcd"
    ]
    (rows / "rows.jsonl").write_text("\n".join(json.dumps(chat) for chat in chats) + "\n")


def _linked_folder(model: Path, rows: Path) -> None:
    (model.parent / "home").mkdir()
    (model.parent / "home" / "token").write_text("a secret of somebody's")
    (model / "additional_chat_templates").symlink_to(model.parent / "home")


def _small_parquet(model: Path, rows: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (rows / "rows.jsonl").unlink()
    quote = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array(["a" * 20_000_000]))
    parquet.write_table(pa.table({"quote": quote}), rows / "rows.parquet", compression="zstd", store_schema=False)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (_large_template, 65, "chat template: to render the rows, it needs more than 1024 MB"),
        (_linked_folder, 82, "additional_chat_templates is a link that leaves the folder"),
        (_small_parquet, 65, "rows.parquet looks like a bomb"),
    ],
)
def test_a_run_refuses_files_that_would_take_too_much_or_lie_elsewhere(
    tiny_model: Path, quotes: Path, tmp_path: Path, change: Any, code: int, said: str
) -> None:
    model, rows = shutil.copytree(tiny_model, tmp_path / "model"), tmp_path / "rows"
    rows.mkdir()
    shutil.copy(quotes, rows / "rows.jsonl")
    change(model, rows)
    spec = spec_of(model, rows, tmp_path, max_steps=2)
    if change is _large_template:
        spec["dataset"] = {"id": str(rows)}
    spec["export"] = {"types": ["q8_0"], "merged": True}
    ended = run_job(spec, tmp_path / "work")
    assert (ended.code, said in ended.output) == (code, True), ended.output
    assert not [path for path in (tmp_path / "published").rglob("*") if path.is_file()]
