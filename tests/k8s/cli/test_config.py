"""The defaults of a team on a real API server: used, shown, and not read by who may not."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.cluster.fixtures import Cluster
from tests.cluster.pki import kubeconfig
from tests.k8s.launcher import BARE, Launcher

pytestmark = pytest.mark.slow
RUN = [*BARE, "--gpu", "none"]
TEAM = """
image: registry.example/team/finetune-run:7
store_pvc: team-runs
secrets: [hub-token]
labels: {cost-center: a1}
limits: {publish: {hub: [my-team]}, max_cost: 20}
"""


@pytest.fixture
def launcher(cluster: Cluster, tmp_path: Path) -> Launcher:
    """A person with a file of their own."""
    admin = tmp_path / "admin.conf"
    admin.write_text(cluster.plane.admin.read_text())
    (tmp_path / "config").mkdir()
    return Launcher(cluster, cluster.namespace(restricted=True), admin)


def of_team(launcher: Launcher, text: str) -> None:
    body = {"metadata": {"name": "finetune-run-defaults"}, "data": {"defaults.yaml": text}}
    launcher.cluster.core.create_namespaced_config_map(launcher.namespace, body)


def mine(launcher: Launcher, text: str) -> None:
    (launcher.kubeconfig.parent / "config" / "finetune-run.yaml").write_text(text)


def test_what_the_team_sets_is_sent_unless_something_nearer_sets_it(launcher: Launcher) -> None:
    of_team(launcher, TEAM)
    mine(launcher, "labels: {owner: me}\nsecrets: [my-keys]\n")
    said = launcher("launch", *RUN, "--label", "cost-center=b2", "--dry-run")
    assert said.code == 0, said.err
    assert "registry.example/finetune-run:1" in said.out, "FINETUNE_IMAGE is nearer"
    assert "claimName: team-runs" in said.out and "cost-center: b2" in said.out and "owner: me" in said.out
    assert said.out.index("hub-token") < said.out.index("my-keys")
    other = launcher("launch", *RUN, "--store-pvc", "mine", "--dry-run")
    assert "claimName: mine" in other.out and "team-runs" not in other.out
    own = launcher("launch", *RUN, "--set", "run.store=s3://bucket/runs", "--dry-run")
    assert own.code == 0 and "team-runs" not in own.out, own.err


def test_the_values_for_the_chart_carry_them(launcher: Launcher) -> None:
    """The chart itself never reads the ConfigMap: `helm template` has no cluster to ask."""
    of_team(launcher, TEAM + "queue: team\nservice_account: trainer\n")
    said = launcher("launch", *RUN, "--emit", "values")
    assert said.code == 0, said.err
    values = YAML(typ="safe").load(said.out)
    assert values["store"]["existingClaim"] == "team-runs" and values["existingSecret"] == ["hub-token"]
    assert values["podLabels"]["cost-center"] == "a1" and values["queue"] == "team"
    assert values["serviceAccount"] == {"name": "trainer"}


def test_config_shows_each_value_and_where_it_comes_from(launcher: Launcher) -> None:
    of_team(launcher, TEAM)
    mine(launcher, "queue: mine\nlimits: {max_cost: 5}\n")
    shown = launcher("config", "-o", "json").json()
    file = str(launcher.kubeconfig.parent / "config" / "finetune-run.yaml")
    team = f"ConfigMap finetune-run-defaults in {launcher.namespace}"
    assert shown["queue"] == {"value": "mine", "from": file}
    assert shown["store_pvc"] == {"value": "team-runs", "from": team}
    assert shown["image"] == {"value": "registry.example/finetune-run:1", "from": "FINETUNE_IMAGE"}
    assert shown["limits.max_cost"] == {"value": 5, "from": file}
    assert shown["limits.publish"]["value"]["hub"] == ["my-team"] and shown["spot"] == {"value": None, "from": None}
    table = launcher("config").out
    assert "store_pvc" in table and team in table and "not set" in table


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "publish.hub.repo_id=me/quotes"], "allowed owners: my-team"),
        (["--max-cost", "50"], "--max-cost 50 is more than 20"),
    ],
)
def test_a_run_beyond_a_limit_is_not_sent(launcher: Launcher, options: list[str], said: str) -> None:
    of_team(launcher, TEAM)
    refused = launcher("launch", *RUN, *options, "--detach")
    assert refused.code == 16 and said in refused.err and "ConfigMap finetune-run-defaults" in refused.err
    assert launcher.jobs() == []


def test_a_wrong_config_map_is_named_with_its_key(launcher: Launcher) -> None:
    of_team(launcher, "quue: team")
    refused = launcher("launch", *RUN, "--detach")
    assert refused.code == 16 and "quue: there is no such key; did you mean queue?" in refused.err
    assert f"ConfigMap finetune-run-defaults in {launcher.namespace}" in refused.err


def test_who_may_not_read_it_is_told(launcher: Launcher, cluster: Cluster, tmp_path: Path) -> None:
    of_team(launcher, "quue: it would be refused")
    cluster.core.create_namespaced_service_account(launcher.namespace, {"metadata": {"name": "nobody"}})
    token = cluster.plane.kubectl("create", "token", "nobody", "-n", launcher.namespace).strip()
    path = kubeconfig(tmp_path / "nobody.conf", cluster.plane.server, cluster.plane.pki, {"token": token})
    person = Launcher(cluster, launcher.namespace, path)
    said = person("launch", *RUN, "--dry-run")
    assert said.code == 0 and "the team's defaults are not applied" in said.err, said.err
    shown = person("config", "-o", "json")
    assert shown.code == 0 and json.loads(shown.out)["queue"] == {"value": None, "from": None}
