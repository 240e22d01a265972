"""Defaults and limits of a team and of a person: which layer wins, and what is wrong with one."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from job.predict.gpus import GPUS, Gpu
from job.spec import JobSpec
from k8s.defaults import CONFIG_MAP, KEY, Effective, defaults, file_of
from k8s.errors import AccessDenied, ObjectNotFound, SettingsInvalid
from tests import ROOT
from tests.k8s.job_settings import spec
from tests.placeholders import filled


class Namespace:
    """The one call that defaults make of a cluster; on a real one: tests/k8s/cli/test_config.py."""

    namespace = "team"

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer

    def config_map(self, name: str) -> dict[str, Any]:
        assert name == CONFIG_MAP
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"data": {KEY: self.answer}}


def layers(team: str | Exception, person: str | None, folder: Path) -> Effective:
    if person is not None:
        (folder / "finetune-run.yaml").write_text(person)
    cluster: Any = Namespace(team)
    return defaults(cluster, {"XDG_CONFIG_HOME": str(folder)})


TEAM = """
image: registry.example/team/finetune-run:1
store: s3://team/runs
secrets: [hub-token]
labels: {cost-center: a1, owner: team}
queue: team
limits: {max_cost: 20, largest_gpu: a100-80, publish: {s3: ["s3://team/models"], hub: [My-Team]}}
"""


def test_a_later_layer_wins_and_each_value_says_where_it_comes_from(tmp_path: Path) -> None:
    mine = "queue: mine\nlabels: {owner: me}\nsecrets: [my-keys]\nstore_pvc: my-runs\nlimits: {max_cost: 5}\n"
    found = layers(TEAM, mine, tmp_path)
    team, person = "ConfigMap finetune-run-defaults in team", str(tmp_path / "finetune-run.yaml")
    assert found.values["image"] == "registry.example/team/finetune-run:1" and found.origins["image"] == team
    assert found.values["queue"] == "mine" and found.origins["queue"] == person
    assert found.labels({"owner": "it"}) == {"cost-center": "a1", "owner": "it"}
    assert found.listed("secrets", ["a-third"]) == ("hub-token", "my-keys", "a-third")
    assert found.values["store_pvc"] == "my-runs" and "store" not in found.values, "one store replaces the other"
    assert found.max_cost(None) == 5 and found.origins["limits.max_cost"] == person
    assert found.get("queue", "given") == "given" and found.get("gpu", None) is None


def test_a_person_without_a_cluster_has_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "finetune-run.yaml").write_text("gpu: l4\nspot: true\n")
    found = defaults(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert found.values == {"gpu": "l4", "spot": True}
    assert defaults(None, {"XDG_CONFIG_HOME": str(tmp_path / "none")}).values == {}
    assert file_of({}) == Path("~/.config/finetune-run.yaml").expanduser()


@pytest.mark.parametrize("gone", [ObjectNotFound("no"), AccessDenied("you may not get configmaps here")])
def test_a_config_map_that_is_not_there_or_not_to_be_read_is_not_an_error(gone: Exception, tmp_path: Path) -> None:
    found = layers(gone, "queue: mine", tmp_path)
    assert found.values == {"queue": "mine"}
    assert [("you may not get configmaps" in one) for one in found.notes] == [True] * isinstance(gone, AccessDenied)


@pytest.mark.parametrize(
    "limit",
    ["max_cost: 21", "max_cost: null", "largest_gpu: h100", "publish: {s3: ['s3://team']}", "publish: {hub: [other]}",
     "publish: {hub: [my-team], public: true}", "publish: null"],
)  # fmt: skip
def test_a_limit_cannot_be_loosened_by_a_later_layer(limit: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=f"{limit.partition(':')[0]} is looser than that of ConfigMap") as caught:
        layers(TEAM, f"limits: {{{limit}}}", tmp_path)
    assert "finetune-run.yaml" in caught.value.message and "tighten" in caught.value.hint


@pytest.mark.parametrize(
    "limit",
    ["max_cost: 20", "largest_gpu: t4", "publish: {s3: ['s3://team/models/mine'], hub: [my-team]}", "publish: {}"],
)
def test_a_limit_can_be_tightened(limit: str, tmp_path: Path) -> None:
    found = layers(TEAM, f"limits: {{{limit}}}", tmp_path)
    assert found.origins[f"limits.{limit.partition(':')[0]}"] == str(tmp_path / "finetune-run.yaml")


def test_the_command_line_cannot_loosen_a_limit(tmp_path: Path) -> None:
    found = layers(TEAM, None, tmp_path)
    assert found.max_cost(19) == 19
    with pytest.raises(SettingsInvalid, match=r"--max-cost 21 is more than 20, the limit of ConfigMap .*max_cost"):
        found.max_cost(21)


def test_a_card_beyond_the_largest_is_refused(tmp_path: Path) -> None:
    found = layers(TEAM, None, tmp_path)
    found.check_cards([GPUS["t4"], GPUS["a100-80"], Gpu("NVIDIA-RTX-A6000", 49140 << 20, (8, 6))])
    for card in (GPUS["h100"], Gpu("NVIDIA-H20", 97871 << 20, (9, 0)), Gpu("NVIDIA-NEW", 0, (8, 0))):
        with pytest.raises(SettingsInvalid, match=f"may get {card.name}, and a100-80, the limit of ConfigMap"):
            found.check_cards([card])


@pytest.mark.parametrize(
    ("publish", "refused"),
    [
        ({"s3": "s3://team/models/quotes"}, ""),
        ({"hub": {"repo_id": "my-team/quotes"}}, ""),
        ({"s3": "s3://team/models-2"}, "publish.s3"),
        ({"hub": {"repo_id": "me/quotes"}}, "publish.hub: me/quotes"),
        ({"hub": {"repo_id": "my-team/quotes", "private": False}}, "a public repository is not allowed"),
        ({"folder": "/store/out"}, "neither in S3 nor on the Hub"),
    ],
)
def test_a_place_to_publish_to_has_to_be_allowed(publish: dict[str, Any], refused: str, tmp_path: Path) -> None:
    found, asked = layers(TEAM, None, tmp_path), spec(publish=publish)
    assert isinstance(asked, JobSpec)
    if not refused:
        found.check_targets([asked])
        return
    with pytest.raises(SettingsInvalid) as caught:
        found.check_targets([spec(), asked])
    assert refused in caught.value.message and "ConfigMap finetune-run-defaults" in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imge: x", "imge: there is no such key; did you mean image?"),
        ("gpu: t5", "gpu: --gpu: 't5' is not known"),
        ("store: runs", "store: not an S3 address"),
        ("store: s3://a/b\nstore_pvc: c", "store and store_pvc are two stores"),
        ("limits: {largest_gpu: huge}", "limits.largest_gpu: 'huge' is not known"),
        ("limits: {max_cost: -1}", "limits.max_cost: Input should be greater than 0"),
        ("prices: {t5: 1}", "prices: t5 is not a known card"),
        ("queue: [", "is not valid YAML"),
        ("- a", "the whole: "),
    ],
)
@pytest.mark.parametrize("layer", ["team", "person"])
def test_a_fault_names_the_layer_the_key_and_what_to_do(text: str, said: str, layer: str, tmp_path: Path) -> None:
    team, person = (text, None) if layer == "team" else (ObjectNotFound("no"), text)
    with pytest.raises(SettingsInvalid) as caught:
        layers(team, person, tmp_path)
    assert said in caught.value.message
    where = "ConfigMap finetune-run-defaults in team" if layer == "team" else str(tmp_path / "finetune-run.yaml")
    assert where in caught.value.message


def test_a_config_map_with_other_keys_is_refused(tmp_path: Path) -> None:
    cluster: Any = Namespace("")
    cluster.config_map = lambda name: {"data": {"image": "x"}}
    with pytest.raises(SettingsInvalid, match=r"has not exactly the key defaults\.yaml"):
        defaults(cluster, {"XDG_CONFIG_HOME": str(tmp_path)})


def test_prices_of_a_layer_are_those_of_a_price_file(tmp_path: Path) -> None:
    found = layers("prices: {t4: 0.35, l4: {on_demand: 0.71, spot: 0.22}}", None, tmp_path)
    assert found.prices()["t4"] == 0.35
    assert layers("price_per_hour: 2", "", tmp_path).prices()
    both = layers("prices: {t4: 0.35}", "price_per_hour: 3", tmp_path)
    assert both.origins.keys() == {"price_per_hour"} | {"prices"} and "t4" not in both.prices()


def test_the_examples_of_the_page_are_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "launcher.md").read_text()
    text = page.split("defaults.yaml: |\n")[1].split("```")[0]
    written = YAML(typ="safe").load(f"defaults.yaml: |\n{text}")["defaults.yaml"]
    assert layers(filled(written), None, tmp_path).values["limits.largest_gpu"]
