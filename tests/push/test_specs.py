"""What a pushed spec may ask for: what the protected configuration says, and nothing that the spec says of itself."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import SpecInvalid
from job.spec import JobSpec
from k8s.configuration import Targets, within
from k8s.errors import SettingsInvalid
from push.changes import of_push
from push.config import VARIABLE, Config, read
from push.specs import refusals, specs_of
from tests.k8s.chart.charts import ROOT
from tests.placeholders import filled
from tests.push.git_repository import Repository
from tests.push.pushes import CONFIG

BASE: dict[str, Any] = {"model": {"id": "owner/model"}, "dataset": {"id": "owner/rows"}}


def config(**more: Any) -> Config:
    return Config.model_validate(CONFIG | more)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


def refused(settings: Config, **spec: Any) -> str:
    return "\n".join(refusals(JobSpec.model_validate(BASE | spec), settings))


@pytest.mark.parametrize("place", ["s3://models/team", "s3://models/team/a", "s3://models/team/a/b/"])
def test_publishing_below_an_allowed_prefix_is_allowed(place: str) -> None:
    assert refused(config(), publish={"s3": place}) == ""


@pytest.mark.parametrize(
    "place", ["s3://models", "s3://models/teams", "s3://models/team2/a", "s3://other/team", "s3://models/a/team"]
)
def test_publishing_elsewhere_on_s3_is_refused(place: str) -> None:
    assert "publish.s3" in refused(config(), publish={"s3": place})


@pytest.mark.parametrize("place", ["s3://models/team/../other", "s3://models/team//x", "s3://models/./team"])
def test_a_path_with_turns_lies_below_nothing(place: str) -> None:
    assert not within(place, ("s3://models/team",))


def test_where_nothing_is_allowed_nothing_is_published() -> None:
    none = config(publish={})
    assert "allowed: nothing" in refused(none, publish={"s3": "s3://models/team"})
    assert "allowed owners: none" in refused(none, publish={"hub": {"repo_id": "team/x"}})


def test_the_hub_takes_only_repositories_of_allowed_owners_and_private_ones() -> None:
    assert refused(config(), publish={"hub": {"repo_id": "team/x-gguf"}}) == ""
    assert "publish.hub: teams/x" in refused(config(), publish={"hub": {"repo_id": "teams/x"}})
    public = {"hub": {"repo_id": "team/x", "private": False}}
    assert "a public repository is not allowed" in refused(config(), publish=public)
    assert refused(config(publish={"hub": ["team"], "public": True}), publish=public) == ""


def test_store_id_and_folder_are_not_the_specs_to_say() -> None:
    found = refused(config(), run={"store": "s3://else/where", "id": "mine"}, publish={"folder": "/work/out"})
    assert all(field in found for field in ("run.store", "run.id", "publish: /"))
    assert refused(config(), run={"store": "s3://runs/store"}) == ""


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("model.id", {"model": {"id": "/var/run/secrets"}}),
        ("model.adapter", {"model": {"id": "a/b", "adapter": "./adapter"}}),
        ("dataset.id", {"dataset": {"id": "https://169.254.169.254/latest.json"}}),
        ("dataset.id", {"dataset": [{"id": "a/b"}, {"id": "rows.jsonl"}]}),
        ("evaluation.text.id", {"evaluation": {"text": {"id": "/etc/passwd"}}}),
        ("evaluation.tasks.id", {"evaluation": {"tasks": {"id": "/etc/passwd"}}}),
        ("export.imatrix", {"export": {"imatrix": "/etc/passwd"}}),
    ],
)
def test_a_run_reads_nothing_of_the_pods_files_or_network(field: str, spec: dict[str, Any]) -> None:
    assert f"{field}: " in refused(config(), **spec)
    assert refused(config(sources=["hub", "s3", "https", "path"]), **spec) == ""


def test_the_store_of_the_configuration_is_the_specs(repo: Repository) -> None:
    repo.write("runs/a.yaml", "model: {id: a/b}\ndataset: {id: a/c}\n")
    ((_, spec),) = specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), config())
    assert spec.run.store == "s3://runs/store"


def test_every_fault_of_every_spec_is_told_at_once(repo: Repository) -> None:
    repo.write("runs/a.yaml", "model: {id: a/b}\ndataset: {id: a/c}\ntrainig: {}\n")
    repo.write("runs/b.yaml", "model: {id: a/b}\ndataset: {id: a/c}\npublish: {s3: 's3://else'}\n")
    repo.write("runs/c.yaml", "not a spec\n")
    repo.write("runs/d.yaml", "model: {id: a/b}\ndataset: {id: a/c}\n")
    with pytest.raises(SpecInvalid) as caught:
        specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), config(max_specs=4))
    said = str(caught.value)
    assert all(name in said for name in ("runs/a.yaml: ", "runs/b.yaml: ", "runs/c.yaml: ")) and "runs/d" not in said


def test_more_specs_than_allowed_are_none(repo: Repository) -> None:
    for number in range(3):
        repo.write(f"runs/{number}.yaml", "model: {id: a/b}\n")
    with pytest.raises(SpecInvalid, match="3 specs have changed, but at most 2 are allowed"):
        specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), config(max_specs=2))


def test_the_commit_counts_and_not_what_lies_in_the_checkout(repo: Repository) -> None:
    repo.write("runs/a.yaml", "model: {id: a/committed}\ndataset: {id: a/c}\n")
    after = repo.commit()
    repo.write("runs/a.yaml", "model: {id: a/other}\ndataset: {id: a/c}\n")
    ((_, spec),) = specs_of(repo.folder, of_push(repo.folder, repo.start, after), config())
    assert spec.model.id == "a/committed"


def test_the_environment_of_the_workflow_changes_no_spec(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE__MODEL__ID", "a/other")
    repo.write("runs/a.yaml", "model: {id: a/b}\ndataset: {id: a/c}\n")
    ((_, spec),) = specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), config())
    assert spec.model.id == "a/b"


def test_a_plan_without_configuration_opens_nothing_on_its_machine(repo: Repository, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    repo.write("runs/a.yaml", f"model: {{id: {tmp_path}/model}}\ndataset: {{id: a/c}}\n")
    with pytest.raises(SpecInvalid, match=r"model.id: .* is a path"):
        specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), None)


def test_a_huge_file_is_not_read(repo: Repository) -> None:
    repo.write("runs/a.yaml", "# " + "x" * 300_000)
    with pytest.raises(SpecInvalid, match="bytes; at most"):
        specs_of(repo.folder, of_push(repo.folder, repo.start, repo.commit()), None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "finetune-run:1"}, "image: name it by its digest"),
        ({"namespace": "Not_one"}, "namespace"),
        ({"gpu": "t5"}, "gpu: "),
        ({"store": None}, "name store or store_pvc"),
        ({"store_pvc": "runs"}, "name store or store_pvc"),
        ({"max_price": 5}, "max_price needs price_per_hour"),
        ({"max_specs": 0}, "max_specs"),
        ({"memory": "much"}, "memory"),
        ({"price_per_hour": float("nan")}, "price_per_hour"),
        ({"publish": {"s3": ["s3://*"]}}, "publish.s3.0"),
        ({"publish": {"s3": ["s3://"]}}, "publish.s3.0"),
        ({"publish": {"s3": ["s3://a/../b"]}}, "publish.s3.0"),
        ({"publish": {"hub": ["a/b"]}}, "publish.hub.0"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_configuration_names_the_field(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    import json

    with pytest.raises(SettingsInvalid) as caught:
        read({VARIABLE: json.dumps(CONFIG | change)}, tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["a: b: c", "[]", "just words", "{"])
def test_what_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid):
        read({VARIABLE: text}, tmp_path)


def test_the_configuration_may_be_a_file_but_none_of_the_repository(repo: Repository, tmp_path: Path) -> None:
    import json

    outside = tmp_path / "config.yaml"
    outside.write_text(json.dumps(CONFIG))
    assert read({VARIABLE: str(outside)}, repo.folder) == config()
    repo.write("config.yaml", json.dumps(CONFIG))
    linked = tmp_path / "link.yaml"
    linked.symlink_to(repo.path("config.yaml"))
    for path in (repo.path("config.yaml"), linked):
        with pytest.raises(SettingsInvalid, match="names a file in the repository, which a push could change"):
            read({VARIABLE: str(path)}, repo.folder)
    assert read({}, repo.folder) is None


def test_the_example_is_a_configuration_and_the_docs_have_every_field(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "push" / "config.yaml").read_text()
    with pytest.raises(SettingsInvalid, match="store: YOUR-BUCKET is a placeholder"):
        read({VARIABLE: text}, tmp_path)
    assert read({VARIABLE: filled(text)}, tmp_path)
    page = (ROOT / "docs" / "training-on-push.md").read_text()
    fields = [*Config.model_fields, *(f"publish.{name}" for name in Targets.model_fields)]
    assert [name for name in fields if name != "publish" and f"`{name}`" not in page] == []
