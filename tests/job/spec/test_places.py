"""A place has one meaning everywhere: what the spec accepts is what is opened, published to and kept apart."""

from pathlib import Path
from typing import Any, get_args

import pytest

from job.spec.addresses import ADDRESSES
from job.spec.load import load
from job.spec.overlay import assignments
from job.spec.places import STORES, Where, data_place, model_place
from job.spec.sections import Publish
from job.store.open import OPENERS
from tests.job.spec.refusals import BASE, refused

EVERYWHERE = {"folder": "/published", "s3": "s3://bucket/models", "hub": {"repo_id": "me/quotes-gguf"}}


def test_what_the_spec_takes_for_a_store_can_be_opened() -> None:
    assert set(STORES) == set(ADDRESSES) == set(OPENERS)
    assert set(STORES) | {"hub", "https", "path"} == set(get_args(Where))


def test_an_address_of_a_store_is_one_for_models_and_for_data() -> None:
    for scheme in STORES:
        assert model_place(f"{scheme}://bucket/x") == data_place(f"{scheme}://bucket/x.jsonl") == scheme


def test_every_place_that_can_be_published_to_has_an_address() -> None:
    publish = Publish.model_validate(EVERYWHERE)
    assert set(EVERYWHERE) == set(Publish.model_fields) - {"name", "replace"}
    assert len(publish.addresses) == len(EVERYWHERE)


def test_two_runs_of_a_sweep_publish_to_no_place_together() -> None:
    publish = Publish.model_validate(EVERYWHERE)
    first, second = publish.apart(0).addresses, publish.apart(1).addresses
    assert len({*publish.addresses, *first, *second}) == 3 * len(EVERYWHERE)


NAMED_PLACES = ["model.id", "model.adapter", "dataset.id", "evaluation.text.id"]


@pytest.mark.parametrize("path", NAMED_PLACES)
def test_a_name_of_the_hub_that_is_one_of_a_folder_here_has_to_say_which(
    path: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "thing").mkdir(parents=True)
    said = refused(write(BASE), {}, assignments([f"{path}=some/thing"]))
    assert "a folder here has this name too; write ./some/thing for it, or hf://some/thing for the Hub's" in said
    for meant in ("./some/thing", "hf://some/thing", "other/thing"):
        load(write(BASE), {}, assignments([f"{path}={meant}"]))
    load(write(BASE), {}, assignments([f"{path}=some/thing"]), here=False)


def test_several_data_sets_are_looked_at_too(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "squad").mkdir()
    said = refused(write("model: {id: a/b}\ndataset: [{id: c/d}, {id: squad}]\n"))
    assert "dataset.1.id" in said and "write ./squad for it" in said


def test_the_hub_can_be_named() -> None:
    spec = load(None, {}, assignments(["model.id=hf://owner/name", "dataset.id=hf://datasets/owner/rows"]))
    assert (spec.model.id, [one.id for one in spec.datasets]) == ("owner/name", ["owner/rows"])


@pytest.mark.parametrize(
    "name", ["support.csv", "support.jsonl.gz", "rows.tsv", "rows.ndjson", "rows.arrow", "SUPPORT.CSV"]
)
def test_a_name_with_a_data_files_ending_is_a_file_whatever_is_here(name: str) -> None:
    spec = load(None, {}, assignments(["model.id=owner/name", f"dataset.id={name}"]))
    assert data_place(spec.datasets[0].id) == "path"


WRONG_ENDINGS = [
    ("dataset.id", "support.xlsx", ".xlsx files are not read; save it as CSV"),
    ("dataset.id", "./support.xlsx", ".xlsx files are not read; save it as CSV"),
    ("dataset.id", "data.tar.gz", ".tar.gz files are not read; unpack it"),
    ("dataset.id", "hf://owner/rows.csv", "is a file here, not a repository"),
    ("dataset.id", "./dir/support.db", "convert a table with `sqlite3 -header -csv support.db"),
    ("evaluation.text.id", "rows.orc", ".orc files are not read; convert it with pandas: `pandas.read_orc('rows.orc')"),
    ("model.id", "./model.gguf", "a .gguf file is not a model"),
    ("model.adapter", "adapter_model.safetensors", "a .safetensors file is not a model"),
    ("chat.template", "chat.jinja", "not a Jinja template"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG_ENDINGS)
def test_a_file_that_cannot_be_what_a_field_names_is_refused(write: Any, path: str, value: str, words: str) -> None:
    assert words in refused(write(BASE), {}, assignments([f"{path}={value}"]))
