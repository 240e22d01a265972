"""Checkpoints are uploaded while training goes on, whatever went wrong with one of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from job.artifacts import Artifact
from job.errors import IntegrityViolated
from job.run.checkpoints import CheckpointUploads, checkpoints
from job.store.folder import FolderStore

PREFIX = "stages/train/key"


class FailsOnce(FolderStore):
    """The first upload raises an error that no caller expects."""

    def __init__(self, root: Path, error: Exception) -> None:
        super().__init__(root)
        self.errors = [error]

    def put_file(self, key: str, path: Path, progress: Any = None) -> Artifact:
        if self.errors:
            raise self.errors.pop()
        return super().put_file(key, path, progress)


def uploads_to(store: FolderStore, folder: Path) -> CheckpointUploads:
    run: Any = SimpleNamespace(store=store, progressed=lambda: None)
    return CheckpointUploads(run, PREFIX, 2, folder)


def saved(folder: Path, step: int) -> dict[str, Any]:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_text(str(step))
    return {"event": "train.checkpoint", "step": step, "path": str(path)}


@pytest.mark.parametrize(
    "error", [ValueError("what is this?"), PermissionError(13, "denied"), FileNotFoundError(2, "")]
)
def test_any_error_of_an_upload_is_told_and_the_next_one_is_stored(tmp_path: Path, error: Exception) -> None:
    store = FailsOnce(tmp_path / "store", error)
    uploads = uploads_to(store, tmp_path / "train")
    uploads.on_event(saved(tmp_path / "train", 2))
    while store.errors:
        pass
    uploads.on_event(saved(tmp_path / "train", 4))
    assert uploads.finish() is None
    assert list(checkpoints(store, PREFIX)) == [4]


def test_a_last_checkpoint_that_was_not_stored_is_not_called_saved(tmp_path: Path) -> None:
    uploads = uploads_to(FailsOnce(tmp_path / "store", ValueError("what is this?")), tmp_path / "train")
    uploads.on_event(saved(tmp_path / "train", 2))
    fault = uploads.finish()
    assert fault and "what is this?" in fault.message


def test_only_a_folder_of_the_stage_is_uploaded(tmp_path: Path) -> None:
    uploads = uploads_to(FolderStore(tmp_path / "store"), tmp_path / "train")
    elsewhere = saved(tmp_path / "mounted", 99)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "link").symlink_to(tmp_path / "mounted")
    for path in (elsewhere["path"], str(tmp_path / "train" / ".." / "mounted"), str(tmp_path / "train" / "link")):
        with pytest.raises(IntegrityViolated, match="not in its folder"):
            uploads.on_event(elsewhere | {"path": path})
    assert uploads.finish() is None
    assert not (tmp_path / "store").exists()
