"""A sweep's combinations, and that its runs keep apart."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.spec import JobSpec
from job.spec.load import load
from job.spec.overlay import Assignment
from k8s.errors import SettingsInvalid
from k8s.manifest.sweep import apart, base, combinations, indexes

BASE = {"FINETUNE__MODEL__ID": "owner/model", "FINETUNE__DATASET__ID": "owner/rows"}


def read(given: Sequence[Assignment]) -> JobSpec:
    return load(None, BASE, given)


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "owner/model"}, "dataset": {"id": "owner/rows"}, **sections})


def test_each_combination_is_a_run() -> None:
    found = indexes(read, ["training.learning_rate=1e-4,2e-4", "lora.r=8,16"])
    assert [(one.spec.training.learning_rate, one.spec.lora.r) for one in found if one.spec.training] == [
        (1e-4, 8),
        (1e-4, 16),
        (2e-4, 8),
        (2e-4, 16),
    ]
    assert found[1].changes == {"training.learning_rate": 1e-4, "lora.r": 16}


def test_lists_are_values_too() -> None:
    found = indexes(read, ['lora.target_modules=["q_proj"],["q_proj","v_proj"]'])
    assert [one.spec.lora.target_modules for one in found] == [["q_proj"], ["q_proj", "v_proj"]]


def test_words_are_values_too_and_the_same_twice_is_one() -> None:
    assert [one.spec.lora.target_modules for one in indexes(read, ["lora.target_modules=all-linear,all-linear"])] == [
        "all-linear"
    ]


def test_numbers_for_a_field_of_text_arrive_as_they_are_written() -> None:
    """`1e5` may begin a commit, and 1.10 be a split: the chart gets the same from `changes`."""
    found = indexes(read, ["model.revision=1e5,12,007", "dataset.split=1.10,true"])
    assert [(one.spec.model.revision, one.spec.datasets[0].split) for one in found[:2]] == [
        ("1e5", "1.10"),
        ("1e5", "true"),
    ]
    assert found[0].changes == {"model.revision": "1e5", "dataset.split": "1.10"}
    assert [one.spec.model.revision for one in found[::2]] == ["1e5", "12", "007"]


def test_a_number_that_is_written_in_two_ways_is_one_value() -> None:
    (only,) = indexes(read, ["training.learning_rate=1e-4,0.0001"])
    assert only.changes == {"training.learning_rate": 1e-4}


def test_a_comma_with_nothing_behind_it_is_not_overlooked() -> None:
    with pytest.raises(SpecInvalid, match=r"lora\.r="):
        indexes(read, ["lora.r=8,"])


def test_a_value_that_the_spec_does_not_take_names_its_combination() -> None:
    with pytest.raises(SpecInvalid, match=r"lora\.r=0"):
        indexes(read, ["lora.r=8,0"])


def test_the_two_recipes_are_values_too() -> None:
    classic, modern = indexes(read, ["recipe=classic,modern"])
    assert modern.changes == {"recipe": "modern"} and modern.spec.lora.target_modules == "all-linear"
    assert classic.spec == read([])


@pytest.mark.parametrize("option", ["lora.r", "r=1", "=1", "lora..r=1"])
def test_an_option_that_names_no_field_is_refused(option: str) -> None:
    with pytest.raises(SettingsInvalid, match="--sweep"):
        combinations([option])


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(SettingsInvalid, match="twice"):
        combinations(["lora.r=8", "lora.r=16"])


def test_no_two_runs_publish_to_one_place_or_share_an_id() -> None:
    whole = spec(
        publish={"folder": "/published", "s3": "s3://bucket/models/", "hub": {"repo_id": "me/quotes-gguf"}},
        run={"id": "quotes"},
    )
    found = [apart(whole, number) for number in range(3)]
    assert [one.publish.s3 for one in found] == [f"s3://bucket/models/{n}" for n in range(3)]
    assert [one.publish.folder for one in found] == [f"/published/{n}" for n in range(3)]
    assert [one.publish.hub.repo_id for one in found if one.publish.hub] == [f"me/quotes-{n}-gguf" for n in range(3)]
    assert [one.run.id for one in found] == [f"quotes-{n}" for n in range(3)]


def test_a_spec_that_publishes_nowhere_stays_as_it_is() -> None:
    assert apart(spec(), 3) == spec()


@pytest.mark.parametrize("option", ["lora.r=", "lora.r= "])
def test_a_field_without_values_is_refused(option: str) -> None:
    """As `--sweep lora.r=$VALUES` is, if there are none: it would be one run that says nothing of a sweep."""
    with pytest.raises(SettingsInvalid, match=r"lora\.r has no values"):
        combinations([option])


@pytest.mark.parametrize("path", ["run.id", "run.store"])
def test_what_a_sweeps_runs_have_in_common_is_not_swept(path: str) -> None:
    with pytest.raises(SettingsInvalid, match="the same for all runs"):
        combinations([f"{path}=a,b"])


def test_a_field_that_every_run_sets_need_not_be_set_elsewhere() -> None:
    without = partial(load, None, {"FINETUNE__DATASET__ID": "owner/rows"})
    assert base(without, ["model.id=a/b,c/d"]).model.id == "a/b"
    with pytest.raises(SpecInvalid, match="model"):
        base(without, ["lora.r=8,16"])


def test_names_that_are_too_long_with_a_runs_number_are_refused() -> None:
    assert apart(spec(run={"id": "a" * 57}), 9999).run.id == "a" * 57 + "-9999"
    with pytest.raises(SpecInvalid, match="has 58 characters"):
        apart(spec(run={"id": "a" * 58}), 0)
    with pytest.raises(SpecInvalid, match=r"publish\.hub\.repo_id is .*at most 96"):
        apart(spec(publish={"hub": {"repo_id": f"me/{'a' * 92}"}}), 10)
