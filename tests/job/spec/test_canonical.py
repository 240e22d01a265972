"""Keys of kept work and ids of runs survive a release that adds an option."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import digest_of
from job.errors import SpecInvalid
from job.run.active_run import ActiveRun
from job.spec import JobSpec
from job.spec.canonical import canonical
from job.spec.sections import Export
from job.spec.training import Lora, Training
from job.store import open_store
from tests import ROOT

SMALL: dict[str, Any] = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}}


class LaterLora(Lora):
    init: str = "default"


class LaterTraining(Training):
    neftune_noise_alpha: float | None = None


class LaterExport(Export):
    types: list[str] = Export().types
    shards: int = 1


class LaterSpec(JobSpec):
    """What another release might have: fields more in sections that are given and in others, and a section more."""

    lora: LaterLora = LaterLora()
    training: LaterTraining | None = LaterTraining()
    export: LaterExport = LaterExport()
    tracking: dict[str, str] = {}


@pytest.mark.parametrize(
    "sections",
    [{}, {"lora": {"r": 16}}, {"training": {"max_steps": 5}, "export": {"types": ["q8_0"]}}, {"training": None}],
    ids=str,
)
def test_a_field_more_with_a_default_changes_no_key(sections: dict[str, Any]) -> None:
    now, later = JobSpec.model_validate(SMALL | sections), LaterSpec.model_validate(SMALL | sections)
    assert digest_of(canonical(now)) == digest_of(canonical(later))
    assert canonical(now.lora) == canonical(later.lora)


def test_what_is_written_as_the_default_is_the_same_as_what_is_left_out() -> None:
    written = JobSpec.model_validate(SMALL | {"lora": {"r": 8, "alpha": 32}, "training": {"num_train_epochs": 1}})
    assert canonical(written) == canonical(JobSpec.model_validate(SMALL))
    assert canonical(written) != canonical(JobSpec.model_validate(SMALL | {"lora": {"r": 9}}))


def test_another_default_needs_another_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import spec_defaults

    old = json.loads((ROOT / "job/spec/defaults.json").read_text())
    new = old | {"defaults": old["defaults"] | {"lora.r": 16, "lora.new": 1}}
    assert spec_defaults.changed(old, new) == ["lora.r"]
    assert spec_defaults.changed(old, new | {"number": old["number"] + 1}) == []


def run_of(spec: JobSpec, folder: Path) -> ActiveRun:
    run = object.__new__(ActiveRun)
    run.spec, run.id, run.store = spec, "one", open_store(str(folder))
    return run


def pinned(spec: dict[str, Any], folder: Path) -> None:
    open_store(str(folder)).put("runs/one/spec.json", json.dumps({"spec": spec, "sources": {"model": "x"}}).encode())


def test_a_run_that_the_release_before_has_pinned_goes_on(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(SMALL | {"lora": {"r": 16}})
    before = spec.model_dump(mode="json")
    del before["lora"]["use_dora"], before["training"]["packing"], before["evaluation"]["threads"]
    pinned(before, tmp_path)
    assert run_of(spec, tmp_path).pin({"model": "y"}) == {"model": "x"}


@pytest.mark.parametrize("change", [{"lora": {"r": 8}}, {"lora": {"unknown": 1}}], ids=str)
def test_a_run_id_that_another_spec_has_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    pinned(SMALL | change, tmp_path)
    with pytest.raises(SpecInvalid, match="has another spec"):
        run_of(JobSpec.model_validate(SMALL | {"lora": {"r": 16}}), tmp_path).pin({})


@pytest.mark.parametrize("value", [True, False, "auto"])
def test_what_changes_no_result_is_in_no_key_and_no_id(value: bool | str) -> None:
    with_it = JobSpec.model_validate(SMALL | {"training": {"gradient_checkpointing": value}})
    plain = JobSpec.model_validate(SMALL)
    assert canonical(with_it) == canonical(plain)
    assert with_it.training and plain.training
    assert canonical(with_it.training) == canonical(plain.training)


def test_a_run_that_was_pinned_with_the_earlier_default_of_checkpointing_goes_on(tmp_path: Path) -> None:
    spec = JobSpec.model_validate(SMALL)
    before = spec.model_dump(mode="json")
    before["training"]["gradient_checkpointing"] = True
    del before["training"]["attn_implementation"]
    pinned(before, tmp_path)
    assert run_of(spec, tmp_path).pin({"model": "y"}) == {"model": "x"}
