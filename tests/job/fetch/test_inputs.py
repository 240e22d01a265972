"""What came along with a run is read only if it is what its place says."""

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from job.errors import IntegrityViolated, NotFound
from job.fetch.inputs import check_content, hashes_of, unpack
from job.fetch.model import bring_file
from job.fetch.sources import fingerprint
from job.local_files import Input, inputs_of, moved
from job.spec import JobSpec
from job.store import open_store
from job.store.base import Store
from k8s.inputs.along import packed
from k8s.inputs.upload import to_store
from tests import ROOT
from tests.s3_server import Bucket

ROWS = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(20))


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """A folder with rows, and a file for the importance matrix."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(ROWS)
    (tmp_path / "data" / "notes.md").write_text("not read")
    (tmp_path / "my.imatrix").write_bytes(b"a matrix")
    return JobSpec.model_validate(
        {
            "model": {"id": "a/b"},
            "dataset": [{"id": "c/d"}, {"id": str(tmp_path / "data")}],
            "export": {"imatrix": str(tmp_path / "my.imatrix")},
        }
    )


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    bucket: Bucket = request.getfixturevalue("s3")
    return open_store(bucket.url)


def brought(spec: JobSpec, store: Store) -> tuple[JobSpec, list[Input]]:
    """The spec as a run elsewhere gets it, once all is in the store."""
    places = [spec.datasets[1].id, spec.export.imatrix]
    inputs = inputs_of([spec], places)
    to_store(store, inputs, lambda *_: None)
    return moved(spec, {one.place: f"{store.url}/{one.key}" for one in inputs}), inputs


def test_a_run_finds_its_inputs_in_the_store_by_their_content(spec: JobSpec, store: Store, tmp_path: Path) -> None:
    elsewhere, inputs = brought(spec, store)
    data, matrix = inputs
    assert elsewhere.datasets[0].id == "c/d"
    assert hashes_of(elsewhere.datasets[1].id) == {"train.jsonl": hashlib.sha256(ROWS.encode()).hexdigest()}
    assert fingerprint(elsewhere.datasets[1].id) == data.digest
    assert bring_file(elsewhere.export.imatrix, tmp_path / "work").read_bytes() == b"a matrix"
    assert matrix.digest == hashlib.sha256(b"a matrix").hexdigest()


def test_content_that_was_changed_in_the_store_is_refused(spec: JobSpec, store: Store, tmp_path: Path) -> None:
    elsewhere, inputs = brought(spec, store)
    store.put(inputs[1].key, b"a matriX")
    with pytest.raises(IntegrityViolated):
        bring_file(elsewhere.export.imatrix, tmp_path / "work")
    store.put(inputs[0].list_key, b"0" * 64 + b"  train.jsonl\n")
    with pytest.raises(IntegrityViolated, match="does not have the SHA-256"):
        hashes_of(elsewhere.datasets[1].id)


def test_a_folder_without_its_list_is_not_whole(spec: JobSpec, store: Store) -> None:
    elsewhere, inputs = brought(spec, store)
    store.delete(inputs[0].list_key)
    with pytest.raises(NotFound, match="not whole"):
        fingerprint(elsewhere.datasets[1].id)


def test_a_file_that_changes_while_it_is_uploaded_is_not_kept(spec: JobSpec, store: Store, tmp_path: Path) -> None:
    inputs = inputs_of([spec], [spec.export.imatrix])
    (tmp_path / "my.imatrix").write_bytes(b"another matrix")
    with pytest.raises(IntegrityViolated, match="was changed while it was uploaded"):
        to_store(store, inputs, lambda *_: None)
    assert not list(store.list("inputs/"))


def test_packed_inputs_are_unpacked_read_only_and_read_from_there(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of([spec], [spec.datasets[1].id, spec.export.imatrix])
    archive = packed(inputs)
    assert archive == packed(inputs)
    (tmp_path / "inputs.tar.gz").write_bytes(archive)
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("FINETUNE_INPUTS", str(tmp_path / "inputs.tar.gz"))
    unpack()
    unpack()  # another attempt on the same volume
    for one in inputs:
        check_content(f"{tmp_path}/work/{one.key}")
    file = tmp_path / "work" / inputs[0].key / "train.jsonl"
    assert file.read_text() == ROWS and file.stat().st_mode & 0o222 == 0


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the run looks for its packed inputs."""
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("FINETUNE_INPUTS", str(tmp_path / "inputs.tar.gz"))
    return tmp_path / "inputs.tar.gz"


@pytest.mark.parametrize("kept", ["the head", "a half", "all but one byte"])
def test_an_archive_that_is_damaged_is_refused(spec: JobSpec, tmp_path: Path, archive: Path, kept: str) -> None:
    whole = packed(inputs_of([spec], [spec.datasets[1].id]))
    other = bytes([whole[40] ^ 0xFF])
    parts = {
        "the head": whole[:12],
        "a half": whole[: len(whole) // 2],
        "all but one byte": whole[:40] + other + whole[41:],
    }
    archive.write_bytes(parts[kept])
    with pytest.raises(IntegrityViolated, match="is damaged"):
        unpack()
    assert not (tmp_path / "work" / "inputs").exists()


def test_an_archive_that_is_not_there_is_named(archive: Path) -> None:
    with pytest.raises(NotFound, match=r"inputs\.tar\.gz is missing"):
        unpack()


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"name": "inputs/link", "type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "'inputs/link' is not a file"),
        ({"name": "inputs/pipe", "type": tarfile.FIFOTYPE}, "'inputs/pipe' is not a file"),
        ({"name": "../outside"}, "would leave its folder"),
        ({"name": "/outside"}, "would leave its folder"),
    ],
)
def test_an_archive_holds_nothing_but_files_of_its_folder(
    tmp_path: Path, archive: Path, member: dict[str, Any], said: str
) -> None:
    about = tarfile.TarInfo()
    for name, value in member.items():
        setattr(about, name, value)
    with tarfile.open(archive, "w:gz") as file:
        file.addfile(about)
    with pytest.raises(IntegrityViolated, match=said):
        unpack()
    assert not (tmp_path / "work" / "inputs").exists() and not (tmp_path / "outside").exists()


def test_no_archive_unpacks_itself() -> None:
    """`extractall` trusts the archive, or needs a Python that is newer than Debian 12's."""
    sources = [path for folder in ("job", "k8s", "push") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 300
    assert [path for path in sources if re.search(r"\.(extractall|extract|unpack_archive)\(", path.read_text())] == []
