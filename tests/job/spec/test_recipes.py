"""A recipe sets the defaults of other fields, which show wherever the spec does."""

from pathlib import Path
from typing import Any

import pytest

from job.plan import describe
from job.spec import JobSpec
from job.spec.canonical import canonical
from job.spec.load import load
from job.spec.overlay import assignments
from job.spec.recipes import MODERN, RECIPES
from tests import ROOT

SMALL: dict[str, Any] = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}}


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate(SMALL | sections)


def resolved(one: JobSpec) -> dict[str, Any]:
    return {name: one.model_dump(mode="json")[name] for name in ("lora", "training")}


def test_modern_sets_its_values_and_leaves_the_others() -> None:
    modern, classic = resolved(spec(recipe="modern")), resolved(spec())
    for section, values in MODERN.items():
        assert modern[section] == classic[section] | values
    assert modern["lora"]["target_modules"] == "all-linear" and modern["lora"]["dropout"] == 0


def test_what_the_spec_says_wins() -> None:
    mine = spec(recipe="modern", lora={"r": 64, "dropout": 0.1}, training={"max_steps": 5})
    assert (mine.lora.r, mine.lora.dropout, mine.lora.alpha) == (64, 0.1, 16)
    assert mine.training and (mine.training.max_steps, mine.training.max_grad_norm) == (5, 1.0)


def test_classic_is_what_a_spec_without_a_recipe_is() -> None:
    assert RECIPES["classic"] == {}
    assert spec(recipe="classic") == spec()
    assert canonical(spec(recipe="classic")) == canonical(spec())


def test_keys_and_ids_depend_on_the_values_alone() -> None:
    assert canonical(spec(recipe="modern")) == canonical(spec(**MODERN))
    assert canonical(spec(recipe="modern")) != canonical(spec())
    back = spec(recipe="modern", lora={"r": 8, "alpha": 32, "dropout": 0.1, "target_modules": "auto"},
                training={"max_grad_norm": 0.3})  # fmt: skip
    assert canonical(back) == canonical(spec())


def test_it_survives_what_a_run_does_with_its_spec() -> None:
    modern = spec(recipe="modern", training={"max_grad_norm": 0.5})
    for data in (modern.model_dump(mode="json"), modern.model_dump(mode="json", exclude_unset=True), modern.shown()):
        assert JobSpec.model_validate(data) == modern


def test_another_recipe_laid_over_a_spec_that_was_read_replaces_its_values() -> None:
    modern = spec(recipe="modern", lora={"r": 8}).model_dump(mode="json", exclude_unset=True)
    assert modern["lora"] == {"r": 8}
    assert JobSpec.model_validate(modern | {"recipe": "classic"}) == spec(lora={"r": 8})


def test_without_training_and_from_an_adapter_nothing_is_set_that_could_not_be() -> None:
    only_files = spec(recipe="modern", training=None, export={"types": ["q8_0"]})
    assert only_files.lora == spec().lora
    on = spec(recipe="modern", model={"id": "a/b", "adapter": "c/d"})
    assert on.lora == spec().lora, "training goes on with the adapter's own settings"


def test_it_is_read_from_a_file_the_environment_and_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("recipe: modern\nmodel: {id: a/b}\ndataset: {id: c/d}\n")
    assert load(path, {}).lora.r == 16
    assert load(path, {"FINETUNE__RECIPE": "classic"}).lora.r == 8
    assert load(path, {"FINETUNE__LORA__R": "4"}).lora.r == 4
    assert load(path, {}, assignments(["recipe=classic"])).lora.r == 8


def test_the_plan_shows_the_values() -> None:
    shown = describe(spec(recipe="modern"))
    assert "target_modules: all-linear" in shown and "recipe: modern" in shown


@pytest.mark.parametrize(("section", "values"), MODERN.items())
def test_the_page_has_a_source_for_each_value(section: str, values: dict[str, Any]) -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    for name, value in values.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{section}.{name}`"))
        assert f"`{value:g}`" in row if isinstance(value, (int, float)) else f"`{value}`" in row
