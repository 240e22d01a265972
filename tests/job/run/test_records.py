"""Stage records, checkpoints and manifests count only when they are whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import Artifact, artifact
from job.errors import IntegrityViolated
from job.run import checkpoints, records
from job.store import Store, open_store

PREFIX = "stages/train/key"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(str(root))


def record(store: Store, folder: Path, **metrics: Any) -> records.StageRecord:
    folder.mkdir(exist_ok=True)
    (folder / "a.bin").write_bytes(b"some bytes")
    store.put_file("stages/export/key/a.bin", folder / "a.bin")
    return records.StageRecord(stage="export", key="key", artifacts=[artifact(folder, "a.bin")], metrics=metrics)


def test_of_two_records_the_first_counts(store: Store, tmp_path: Path) -> None:
    first = records.write_stage(store, record(store, tmp_path / "made", by=1))
    second = records.write_stage(store, record(store, tmp_path / "made", by=2))
    assert first.metrics == second.metrics == {"by": 1}


def test_a_record_whose_file_is_gone_or_cut_off_does_not_count(store: Store, root: Path, tmp_path: Path) -> None:
    records.write_stage(store, record(store, tmp_path / "made"))
    assert records.read_stage(store, "export", "key")
    (root / "stages/export/key/a.bin").write_bytes(b"some")
    assert records.read_stage(store, "export", "key") is None


def test_a_record_that_is_not_a_record_is_named(store: Store) -> None:
    store.put("stages/export/key/stage.json", b"{}")
    with pytest.raises(IntegrityViolated, match=r"stages/export/key/stage\.json is damaged: it is not a StageRecord"):
        records.read_stage(store, "export", "key")


def checkpoint(folder: Path, text: str) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_text(text)
    (folder / "deep" / "state.json").write_text("{}")
    return folder


def test_the_newest_complete_checkpoint_is_taken(store: Store, root: Path, tmp_path: Path) -> None:
    for step in (10, 20, 30):
        checkpoints.put_checkpoint(store, PREFIX, checkpoint(tmp_path / str(step), f"step {step}"), step)
    store.delete(f"{PREFIX}/checkpoints/step-000030/COMPLETE.json")
    assert checkpoints.get_checkpoint(store, PREFIX, tmp_path / "back") == 20
    assert (tmp_path / "back" / "step-20" / "weights.bin").read_text() == "step 20"

    (root / PREFIX / "checkpoints/step-000020/weights.bin").write_text("damaged")
    assert checkpoints.get_checkpoint(store, PREFIX, tmp_path / "again") == 10


def test_pruning_keeps_the_newest(store: Store, tmp_path: Path) -> None:
    for step in (1, 2, 1_000_000):
        checkpoints.put_checkpoint(store, PREFIX, checkpoint(tmp_path / str(step), "x"), step)
    checkpoints.prune_checkpoints(store, PREFIX, 1)
    assert list(checkpoints.checkpoints(store, PREFIX)) == [1_000_000]
    assert not [key for key in store.list(f"{PREFIX}/checkpoints/") if "step-000002" in key]
    checkpoints.prune_checkpoints(store, PREFIX, 0)
    assert checkpoints.get_checkpoint(store, PREFIX, tmp_path / "back") is None


def finished(store: Store, tmp_path: Path) -> records.Manifest:
    made = record(store, tmp_path / "made")
    item = made.artifacts[0]
    file = records.PublishedFile(
        name="x.gguf", key="stages/export/key/a.bin", type="f16", sha256=item.sha256, size=item.size
    )
    found = records.Manifest(run="one", name="x", spec={}, sources={}, stages={"e": made}, files=[file], places=[])
    return records.write_manifest(store, found)


def test_a_manifest_is_written_once_and_verifies(store: Store, root: Path, tmp_path: Path) -> None:
    first = finished(store, tmp_path)
    assert finished(store, tmp_path).finished == first.finished
    assert records.read_manifest(store, "one") == first
    records.verify_manifest(store, first)
    (root / "stages/export/key/a.bin").write_bytes(b"other byte")
    with pytest.raises(IntegrityViolated, match="does not match its hash"):
        records.verify_manifest(store, first)
    (root / "stages/export/key/a.bin").unlink()
    with pytest.raises(IntegrityViolated, match="missing"):
        records.verify_manifest(store, first)


@pytest.mark.parametrize("name", ["../home/.bashrc", "/etc/passwd", "a/../../b", "", "a//b", "..", "a\\b", "a\nb"])
def test_a_record_that_names_a_file_elsewhere_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    item = {"path": name, "sha256": "0" * 64, "size": 1}
    published = {"name": name, "key": "stages/a/b", "type": "q8_0", "sha256": "0" * 64, "size": 1}
    record = {"stage": "train", "key": "key", "artifacts": [item]}
    manifest = {"run": "r", "name": "n", "spec": {}, "sources": {}, "stages": {}, "files": [published], "places": []}
    store.put("stages/train/key/stage.json", json.dumps(record).encode())
    store.put("runs/r/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        records.read_stage(store, "train", "key")
    with pytest.raises(IntegrityViolated, match="would leave its folder"):
        records.read_manifest(store, "r")
    for kind, fields in ((Artifact, item), (records.PublishedFile, published | {"name": "a", "key": name})):
        with pytest.raises(IntegrityViolated, match="would leave its folder"):
            kind.model_validate(fields)
    complete = json.dumps({"step": 2, "files": [item]}).encode()
    store.put(f"{PREFIX}/checkpoints/step-000002/COMPLETE.json", complete)
    assert checkpoints.get_checkpoint(store, PREFIX, tmp_path / "back") is None
