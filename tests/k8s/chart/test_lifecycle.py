"""A release's life on a real API server: installed, upgraded, rolled back, checked, uninstalled."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from k8s.yaml_text import text_of
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.chart.charts import CHART, HELM, IMAGE, LEAST, ROOT, documents, of_kind, with_spec
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import Launcher, add
from tests.placeholders import filled

pytestmark = pytest.mark.slow


class Release:
    """`mine` in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, tmp_path: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, tmp_path

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=180, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def command(self, *arguments: str) -> list[str]:
        where = [f"--kubeconfig={self.cluster.plane.admin}", f"--namespace={self.namespace}"]
        return [str(HELM), *arguments, *where]

    def apply(self, values: dict[str, Any]) -> str:
        """Installs or upgrades; gives the Job's name."""
        path = self.folder / "values.yaml"
        path.write_text(text_of([values]))
        self("upgrade", "--install", "mine", str(CHART), "-f", str(path))
        return str(of_kind(documents(self("get", "manifest", "mine")), "Job")["metadata"]["name"])

    def jobs(self) -> list[Any]:
        found = self.cluster.batch.list_namespaced_job(self.namespace).items
        return [job for job in found if not job.metadata.deletion_timestamp]

    def names(self) -> set[str]:
        return {job.metadata.name for job in self.jobs()}


@pytest.fixture
def release(cluster: Cluster, tmp_path: Path) -> Iterator[Release]:
    yield Release(cluster, cluster.namespace(restricted=True), tmp_path)


def test_an_installed_run_lands_on_the_card_that_was_asked_for(release: Release, cluster: Cluster) -> None:
    for gpu in ("l4", "t4", "a100-40"):
        add(cluster, whole("gke", gpu))
    name = release.apply(LEAST | {"gpu": "t4", "platform": "gke"})
    pod = eventually(lambda: next((p for p in cluster.pods(release.namespace) if p.spec.node_name), None), "a pod")
    assert pod.spec.node_name == "t4-whole"
    assert cluster.core.read_namespaced_config_map(name, release.namespace).immutable


def test_the_policy_of_the_job_ends_it_at_once_on_a_wrong_spec(release: Release, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = release.apply(LEAST | {"gpu": "none"})
    Launcher(cluster, release.namespace).end_pod(64)
    condition = cluster.condition(release.namespace, name, "Failed")
    assert condition.reason == "PodFailurePolicy"


def test_an_unchanged_upgrade_changes_nothing_and_another_spec_is_another_job(release: Release) -> None:
    first = release.apply(LEAST | {"gpu": "none"})
    uid = release.jobs()[0].metadata.uid
    release.apply(LEAST | {"gpu": "none"})
    assert [job.metadata.uid for job in release.jobs()] == [uid]
    second = release.apply(with_spec(lora={"r": 4}) | {"gpu": "none"})
    assert second != first
    eventually(lambda: release.names() == {second}, "the old Job to go")
    release("rollback", "mine", "1")
    eventually(lambda: release.names() == {first}, "the first Job, by its old name")


def test_a_run_that_is_kept_goes_on_beside_the_next_one_and_a_rollback_finds_it(release: Release) -> None:
    values = {"gpu": "none", "keepOldRuns": True}
    first = release.apply(LEAST | values)
    uid = release.jobs()[0].metadata.uid
    second = release.apply(with_spec(lora={"r": 4}) | values)
    assert release.names() == {first, second}
    release.apply(LEAST | values)
    assert release.names() == {first, second}
    assert next(job.metadata.uid for job in release.jobs() if job.metadata.name == first) == uid


def test_a_run_that_is_kept_keeps_its_account_and_its_policy(release: Release, cluster: Cluster) -> None:
    extras = {"serviceAccount": {"create": True}, "networkPolicy": {"enabled": True}}
    first = release.apply(LEAST | {"gpu": "none", "keepOldRuns": True} | extras)
    kinds, name = "serviceaccounts,networkpolicies", "mine-finetune-run"

    def there() -> set[str]:
        said = cluster.plane.kubectl("get", kinds, "-n", release.namespace, "-o", "name").split()
        return {one.split("/")[0] for one in said if one.endswith(f"/{name}")}

    needed = {"serviceaccount", "networkpolicy.networking.k8s.io"}
    assert there() == needed
    release.apply(with_spec(lora={"r": 4}) | {"gpu": "none", "keepOldRuns": True})  # needs neither itself
    assert first in release.names() and there() == needed
    release.apply(LEAST | {"gpu": "none", "keepOldRuns": True} | extras)
    release("uninstall", "mine")
    assert first in release.names() and there() == needed
    assert first == release.apply(LEAST | {"gpu": "none", "keepOldRuns": True} | extras), "they are taken up again"


def test_a_run_that_finds_the_old_job_being_stopped_is_tried_again(release: Release, cluster: Cluster) -> None:
    """As after an upgrade: the old pod saves its checkpoint, and still holds the lease of their run id."""
    cluster.nodes.add("plain")
    launcher = Launcher(cluster, release.namespace)
    name = release.apply(with_spec(run={"id": "mine"}) | {"gpu": "none"})
    first = launcher.end_pod(84)
    eventually(lambda: launcher.pod() != first, "another pod", timeout_s=60)
    launcher.end_pod(0)
    cluster.condition(release.namespace, name, "Complete")


def test_an_uninstall_leaves_nothing_but_the_claims(release: Release, cluster: Cluster) -> None:
    extras = {"serviceAccount": {"create": True}, "store": {"size": "1Gi"}, "networkPolicy": {"enabled": True}}
    release.apply(LEAST | extras | {"gpu": "none"})
    release("uninstall", "mine")
    kinds = "jobs,configmaps,serviceaccounts,networkpolicies,pods,secrets,persistentvolumeclaims"

    def left() -> set[str]:
        said = cluster.plane.kubectl("get", kinds, "-n", release.namespace, "-o", "name").split()
        return set(said) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    eventually(lambda: left() == {"persistentvolumeclaim/mine-finetune-run-store"}, "all the rest to go")
    again = release.apply(LEAST | extras | {"gpu": "none"})  # the claim is taken up again
    assert again in release.names()


def test_helm_test_runs_a_pod_that_restricted_admits_and_takes_it_away(release: Release, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    release.apply(LEAST | {"gpu": "t4"})
    with subprocess.Popen(
        release.command("test", "mine", "--timeout", "60s"), stdout=subprocess.PIPE, text=True
    ) as test:
        name = "mine-finetune-run-access"
        eventually(lambda: [p for p in cluster.pods(release.namespace) if p.metadata.name == name], "the test's pod")
        on_node = lambda: cluster.core.read_namespaced_pod(name, release.namespace).spec.node_name  # noqa: E731
        assert eventually(on_node, "it to be on a node") == "plain"
        Launcher(cluster, release.namespace).end_pod_of(name, 0)
        out, _ = test.communicate(timeout=60)
    assert test.returncode == 0 and "Succeeded" in out
    eventually(lambda: not [p for p in cluster.pods(release.namespace) if p.metadata.name == name], "it to go")


def test_an_upgrade_after_kueues_admission_does_not_fight_over_suspend(release: Release, cluster: Cluster) -> None:
    values = LEAST | {"gpu": "none", "queue": "team"}
    name = release.apply(values)
    for state in (True, False):  # as Kueue's webhook, and then its controller, write it
        cluster.batch.patch_namespaced_job(name, release.namespace, {"spec": {"suspend": state}}, field_manager="kueue")
    assert release.apply(values) == name
    job = release.jobs()[0]
    assert not job.spec.suspend and job.metadata.labels["kueue.x-k8s.io/queue-name"] == "team"


def test_the_launcher_shows_and_ends_what_helm_started(release: Release, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = release.apply(LEAST | {"gpu": "none", "store": {"existingClaim": "runs"}})
    launcher = Launcher(cluster, release.namespace)
    listed = launcher("list", "-o", "json").json()
    assert [(run["name"], run["model"], run["store"]) for run in listed] == [(name, "a/b", "/store")]
    assert launcher("status", name).code == 0
    assert launcher("cancel", name).code == 0
    assert release.names() == set()


def test_rendered_manifests_are_applied_twice_without_a_change(release: Release, cluster: Cluster) -> None:
    least = "spec.model.id=a/b,spec.dataset.id=c/d,image.repository=ghcr.io/me/x"
    rendered = release("template", "mine", str(CHART), "--no-hooks", "--set", least)
    first = cluster.plane.kubectl("apply", "-n", release.namespace, "-f", "-", stdin=rendered)
    again = cluster.plane.kubectl("apply", "-n", release.namespace, "-f", "-", stdin=rendered)
    assert first.count("created") == 2 and again.count("unchanged") == 2


@pytest.mark.parametrize("command", [["lint"], ["template", "mine"], ["install", "mine"]])
def test_a_wrong_value_fails_with_its_path(release: Release, command: list[str]) -> None:
    said = release(*command, str(CHART), "--set", "spec.model.id=a/b,spec.load.bits=5", check=False)
    assert "/spec/load/bits" in said
    assert release.names() == set()


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "helm").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_values_are_admitted(release: Release, cluster: Cluster, path: Path) -> None:
    values = YAML(typ="safe").load(filled(path.read_text())) | {"image": IMAGE}  # which the command names
    name = release.apply(values)
    template = cluster.batch.read_namespaced_job(name, release.namespace).spec.template
    template = cluster.api.sanitize_for_serialization(template)
    for elsewhere in ("serviceAccountName", "serviceAccount", "runtimeClassName"):
        template["spec"].pop(elsewhere, None)
    labels = {"metadata": {"name": "tried", "labels": template["metadata"]["labels"]}}
    cluster.core.create_namespaced_pod(release.namespace, labels | {"spec": template["spec"]}, dry_run="All")
