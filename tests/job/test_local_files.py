"""What a spec names on this machine: every field that can name a file or a folder is among what goes along."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import AfterValidator, BaseModel

from job.errors import IntegrityViolated
from job.local_files import inputs_of, moved, places_here
from job.spec import JobSpec
from job.spec.addresses import check_data, check_imatrix, check_model

ALL = {
    "model": {"id": "./model", "adapter": "./adapter"},
    "dataset": [{"id": "./one.jsonl"}, {"id": "./two.jsonl"}],
    "evaluation": {"text": {"id": "./text.txt"}, "tasks": {"id": "./cases.jsonl"}},
    "export": {"imatrix": "matrix.dat"},
}


def fields(annotation: Any, metadata: list[Any], path: str) -> Iterator[str]:
    """The paths of all fields whose values are places that a run reads."""
    if any(
        isinstance(one, AfterValidator) and one.func in (check_data, check_imatrix, check_model) for one in metadata
    ):
        yield path
    elif get_origin(annotation) is Annotated:
        kind, *more = get_args(annotation)
        yield from fields(kind, more, path)
    elif get_args(annotation):
        for kind in get_args(annotation):
            yield from fields(kind, [], path)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from fields(field.annotation, field.metadata, f"{path}.{name}".lstrip("."))


def test_every_field_that_names_a_place_is_looked_for_here() -> None:
    named = set(fields(JobSpec, [], ""))
    judged = {"evaluation.text.id", "evaluation.tasks.id"}
    assert named == {"model.id", "model.adapter", "dataset.id", "export.imatrix"} | judged
    places = places_here([JobSpec.model_validate(ALL)])
    assert places == ["./model", "./adapter", "./one.jsonl", "./two.jsonl", "./text.txt", "./cases.jsonl", "matrix.dat"]


def test_a_moved_spec_names_each_elsewhere_and_nothing_else_is_changed() -> None:
    spec = JobSpec.model_validate(ALL)
    there = moved(spec, {place: f"/store/inputs/{number}" for number, place in enumerate(places_here([spec]))})
    assert places_here([there]) == [f"/store/inputs/{number}" for number in range(7)]
    assert moved(spec, {}) == spec
    one = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "./rows", "split": "test"}})
    assert moved(one, {"./rows": "s3://bucket/rows"}).datasets[0].split == "test"


def test_an_input_is_called_by_its_content_and_a_name_that_an_address_can_hold(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "my rows?.jsonl").write_text('{"text": "x"}\n')
    place = str(tmp_path / "a folder" / ".." / "a folder" / "my rows?.jsonl")
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": place}})
    (found,) = inputs_of([spec], [place])
    assert found.key == f"inputs/{found.digest}/my-rows-.jsonl"
    assert JobSpec.model_validate(moved(spec, {place: f"s3://bucket/{found.key}"}).model_dump())


def test_runs_that_read_different_splits_of_a_folder_share_one_input(tmp_path: Path) -> None:
    for name in ("train", "test", "validation"):
        (tmp_path / f"{name}.jsonl").write_text('{"text": "x"}\n')
    specs = [
        JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": str(tmp_path), "split": split}})
        for split in ("train", "test")
    ]
    (found,) = inputs_of(specs, [str(tmp_path)])
    assert [one.path for one in found.files] == ["test.jsonl", "train.jsonl"]


def test_a_device_is_neither_a_file_nor_a_folder() -> None:
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "/dev/null"}})
    with pytest.raises(IntegrityViolated, match="neither a file nor a folder"):
        inputs_of([spec], ["/dev/null"])


def test_a_file_that_holds_a_secret_of_this_machine_does_not_leave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "correct-horse-battery")
    (tmp_path / "rows.jsonl").write_text('{"text": "correct-horse-battery"}\n')
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": str(tmp_path / "rows.jsonl")}})
    with pytest.raises(IntegrityViolated, match="contains a secret of this machine's environment"):
        inputs_of([spec], places_here([spec]))
