"""What each command may do on a real API server, and what is said where it may not."""

import json
from pathlib import Path

import pytest

from tests.cluster.fixtures import Cluster, eventually
from tests.cluster.pki import kubeconfig
from tests.job.predict.sizes import SIZES
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, Launcher, add, submit
from tests.k8s.rights import granted, user_with

pytestmark = pytest.mark.slow


def test_who_may_not_create_pods_is_told_that_none_was_tried(
    launcher: Launcher, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.nodes.add("plain")
    _, config = user_with(cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    fewer = [{"op": "replace", "path": "/rules/2/verbs", "value": ["get", "list"]}]
    role = ["role", "finetune-run-launcher", "-n", launcher.namespace]
    cluster.plane.kubectl("patch", *role, "--type=json", "-p", json.dumps(fewer))
    said = Launcher(cluster, launcher.namespace, config)("launch", *BARE, "--gpu", "none", "--detach")
    assert said.code == 0 and "you may not create pods here" in said.err and len(launcher.jobs()) == 1


@pytest.mark.usefixtures("nothing_is_rehearsed")
def test_the_role_is_enough_for_every_command_and_not_more(
    launcher: Launcher, cluster: Cluster, tmp_path: Path, kueue: str
) -> None:
    add(cluster, whole("gke", "t4"))
    cluster.nodes.add("plain")
    user, config = user_with(
        cluster, launcher.namespace, tmp_path, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"
    )
    person = Launcher(cluster, launcher.namespace, config)
    name = submit(person, "--gpu", "t4")
    pod = launcher.run_pod()
    cluster.kubelet.log(pod).write('{"event": "run.start"}')
    assert "run.start" in person("logs", name).out
    for command in (["list"], ["status", name], ["gpus"]):
        said = person(*command)
        assert said.code == 0, said.err
    for command in (["cancel", name, "--pause"], ["resume", name], ["cancel", name]):
        said = person(*command)
        assert said.code == 0, said.err
    for option in (["--queue", "team"], ["--ca", "bundle/ca.crt"], ["--store-pvc", "runs"]):  # none is there
        assert person("launch", *BARE, "--gpu", "none", "--detach", *option).code == 12
    with person.started("launch", *BARE, "--gpu", "none", "--follow") as following:
        launcher.end_pod(0)
        following.communicate(timeout=60)
    assert following.returncode == 0
    dry = person("launch", *known_model(tmp_path), "--gpu", "t4", "--dry-run")
    assert 'memory: "15Gi"' in dry.out  # the 7B's file in 16 bits is cached
    quota(cluster, launcher.namespace)
    dry = person("launch", *known_model(tmp_path), "--gpu", "t4", "--dry-run")
    assert 'memory: "6Gi"' in dry.out
    refused = person("launch", *BARE, "--gpu", "none", "--detach", "--if-exists", "new")  # after its ConfigMap
    assert refused.code == 14
    used = cluster.plane.asked_by(user)
    allowed = granted("Role") | granted("ClusterRole")
    reader = {(verb, what) for verb in ("create", "delete", "get") for what in ("pods", "pods/exec")}  # test_volume.py
    looked = {("get", "secrets"), ("get", "serviceaccounts")}  # it does without
    assert used - looked <= allowed
    assert allowed - used <= reader


def known_model(folder: Path) -> list[str]:
    """Its weights are only named: `--dry-run` sends nothing."""
    (folder / "config.json").write_text(json.dumps(SIZES["7B"][0]))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return ["--model", str(folder), "--dataset", "/rows.jsonl"]


def quota(cluster: Cluster, namespace: str) -> None:
    """No further Job may be made."""
    cluster.core.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    )
    eventually(lambda: cluster.core.read_namespaced_resource_quota("none", namespace).status.hard, "the quota")


def test_without_the_cluster_role_a_platform_has_to_be_named(
    launcher: Launcher, cluster: Cluster, tmp_path: Path
) -> None:
    add(cluster, whole("gke", "t4"))
    _, config = user_with(cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    person = Launcher(cluster, launcher.namespace, config)
    said = person("launch", *BARE, "--gpu", "t4", "--detach")
    assert said.code == 16 and "--platform gke" in said.err
    submit(person, "--gpu", "t4", "--platform", "gke")
    assert cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace).spec.node_name == "t4-whole"
    refused = person("gpus")
    assert refused.code == 11 and "not allowed to list nodes" in refused.err


def test_somebody_without_rights_is_told_which_are_missing(
    launcher: Launcher, cluster: Cluster, tmp_path: Path
) -> None:
    _, config = user_with(cluster, launcher.namespace, tmp_path)
    said = Launcher(cluster, launcher.namespace, config)("list")
    assert said.code == 11 and "person is not allowed to list jobs" in said.err


def test_an_expired_token_is_told(launcher: Launcher, cluster: Cluster, tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "old.conf", cluster.plane.server, cluster.plane.pki, {"token": "no-longer-good"})
    said = Launcher(cluster, launcher.namespace, path)("list")
    assert said.code == 11 and "does not accept your login" in said.err


def test_a_quota_on_jobs_leaves_nothing_behind(launcher: Launcher, cluster: Cluster) -> None:
    quota(cluster, launcher.namespace)
    said = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert said.code == 14 and "a quota refuses it" in said.err
    maps = cluster.core.list_namespaced_config_map(launcher.namespace).items
    assert [one.metadata.name for one in maps] == ["kube-root-ca.crt"]
