"""Sweeps, queues and permissions of the launcher on a real API server."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client
from ruamel.yaml import YAML

from tests.cluster.fixtures import Cluster, eventually
from tests.cluster.pki import kubeconfig
from tests.job.predict.sizes import SIZES
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, RUN, Launcher, add, submit
from tests.k8s.rights import granted, user_with

pytestmark = pytest.mark.slow
SWEEP = ["--sweep", "training.learning_rate=1e-4,2e-4", "--sweep", "lora.r=8,16"]


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    return Launcher(cluster, cluster.namespace(restricted=True))


@pytest.mark.parametrize("mode", ["ReadWriteOnce", "ReadWriteMany"])
def test_runs_at_a_time_on_a_volume_of_one_node_are_refused(launcher: Launcher, cluster: Cluster, mode: str) -> None:
    cluster.nodes.add("plain")
    launcher.claims(mode)
    sweep = ["launch", *RUN, "--gpu", "none", "--detach", *SWEEP]
    refused = launcher(*sweep, "--parallel", "2")
    if mode == "ReadWriteMany":
        assert refused.code == 0 and len(launcher.jobs()) == 1, refused.err
        return
    assert refused.code == 16 and "2 runs at a time cannot mount the claim runs, which is ReadWriteOnce" in refused.err
    assert launcher.jobs() == []
    printed = launcher(*sweep, "--parallel", "2", "--emit", "values")
    assert printed.code == 16 and "--parallel 1" in printed.err
    assert launcher(*sweep, "--parallel", "2", "--node-selector", "kubernetes.io/hostname=plain").code == 0


def test_a_volume_that_cannot_be_read_is_told(launcher: Launcher, cluster: Cluster, tmp_path: Path) -> None:
    cluster.nodes.add("plain")
    _, config = user_with(cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    remove = [{"op": "remove", "path": "/rules/5"}]  # persistentvolumeclaims
    role = ["role", "finetune-run-launcher", "-n", launcher.namespace]
    cluster.plane.kubectl("patch", *role, "--type=json", "-p", json.dumps(remove))
    person = Launcher(cluster, launcher.namespace, config)
    said = person("launch", *RUN, "--gpu", "none", "--detach", *SWEEP, "--parallel", "2", "--dry-run")
    assert said.code == 0 and "the access mode of runs cannot be read" in said.err


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


def index_of(pod: Any) -> str:
    return str(pod.metadata.annotations["batch.kubernetes.io/job-completion-index"])


def test_a_sweep_is_one_job_in_which_a_bad_run_ends_alone(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none", *SWEEP, "--parallel", "4")
    job = cluster.batch.read_namespaced_job(name, launcher.namespace)
    assert (job.spec.completions, job.spec.parallelism, job.spec.completion_mode) == (4, 4, "Indexed")
    assert job.spec.backoff_limit_per_index == 6
    pods = eventually(lambda: bound if len(bound := on_nodes(launcher)) == 4 else None, "four pods on nodes")
    for pod in pods:
        launcher.start_pod(pod.metadata.name)
        launcher.end_pod_of(pod.metadata.name, 64 if index_of(pod) == "1" else 0)
    cluster.condition(launcher.namespace, name, "Failed")
    run = launcher("status", name, "-o", "json").json()
    assert (run["completed_indexes"], run["failed_indexes"]) == ("0,2,3", "1")
    assert [one["lora.r"] for one in run["sweep"]] == [8, 16, 8, 16]


def on_nodes(launcher: Launcher) -> list[Any]:
    return [pod for pod in launcher.cluster.pods(launcher.namespace) if pod.spec.node_name]


def test_each_index_of_a_sweep_has_a_spec_and_a_place_of_its_own(launcher: Launcher) -> None:
    said = launcher("launch", *BARE, "--gpu", "none", *SWEEP, "--set", "publish.s3=s3://bucket/models", "--dry-run")
    assert said.code == 0, said.err
    config, job = YAML(typ="safe").load_all(said.out)
    specs = [json.loads(config["data"][f"spec-{n}.json"]) for n in range(4)]
    assert [one["lora"]["r"] for one in specs] == [8, 16, 8, 16]
    assert [one["publish"]["s3"] for one in specs] == [f"s3://bucket/models/{n}" for n in range(4)]
    names = {one["name"]: one for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert names["FINETUNE_SPEC"]["value"] == "/etc/finetune-run/spec-$(JOB_COMPLETION_INDEX).json"


def test_a_combination_that_cannot_be_is_named(launcher: Launcher) -> None:
    said = launcher("launch", *BARE, "--gpu", "none", "--sweep", "lora.r=8,none", "--dry-run")
    assert said.code == 64 and "--sweep with lora.r=none" in said.err


# --- Kueue: a stand-in for its controller, which admits what waits in its queue ---


@pytest.fixture(scope="module")
def kueue(request: pytest.FixtureRequest, shared_cluster: Cluster) -> Iterator[str]:
    """Kueue's LocalQueue as a resource of the API, in the versions that are served: v1beta1 until 0.14, both until
    0.19, v1beta2 from 0.20 on."""
    served = getattr(request, "param", "v1beta2")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": name, "served": True, "storage": not number, "schema": {"openAPIV3Schema": schema}}
        for number, name in enumerate(served.split(","))
    ]
    names = {"plural": "localqueues", "singular": "localqueue", "kind": "LocalQueue"}
    spec = {"group": "kueue.x-k8s.io", "scope": "Namespaced", "names": names, "versions": versions}
    extensions = client.ApiextensionsV1Api(shared_cluster.api)
    extensions.create_custom_resource_definition({"metadata": {"name": "localqueues.kueue.x-k8s.io"}, "spec": spec})

    def established() -> bool:
        found = extensions.read_custom_resource_definition("localqueues.kueue.x-k8s.io").status.conditions or []
        return any(one.type == "Established" and one.status == "True" for one in found)

    eventually(established, "the resource")
    yield served
    extensions.delete_custom_resource_definition("localqueues.kueue.x-k8s.io")

    def there() -> bool:
        found = extensions.list_custom_resource_definition().items
        return any(one.metadata.name == "localqueues.kueue.x-k8s.io" for one in found)

    eventually(lambda: not there(), "the resource to go")


@pytest.mark.parametrize("kueue", ["v1beta1", "v1beta2", "v1beta1,v1beta2", "v1"], indirect=True)
def test_a_run_waits_in_its_queue_until_it_is_admitted(launcher: Launcher, cluster: Cluster, kueue: str) -> None:
    cluster.nodes.add("plain")
    missing = launcher("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert missing.code == 12 and "there is no LocalQueue team" in missing.err
    version = kueue.partition(",")[0]
    queue = {"apiVersion": f"kueue.x-k8s.io/{version}", "kind": "LocalQueue", "metadata": {"name": "team"}}
    custom = client.CustomObjectsApi(cluster.api)
    custom.create_namespaced_custom_object("kueue.x-k8s.io", version, launcher.namespace, "localqueues", queue)
    name = submit(launcher, "--gpu", "none", "--queue", "team")
    job = cluster.batch.read_namespaced_job(name, launcher.namespace)
    assert job.spec.suspend and job.metadata.labels["kueue.x-k8s.io/queue-name"] == "team"
    assert "waiting for admission by Kueue (queue team)" in launcher("status", name).err
    assert cluster.pods(launcher.namespace) == []
    admit = threading.Timer(
        1, cluster.batch.patch_namespaced_job, (name, launcher.namespace, {"spec": {"suspend": False}})
    )
    admit.start()
    launcher.end_pod(0)
    assert launcher("wait", name).code == 0


def test_a_queue_where_kueue_is_not_installed_is_told(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    said = launcher("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert said.code == 12 and "Check that Kueue is installed" in said.err and launcher.jobs() == []


@pytest.mark.usefixtures("nothing_is_rehearsed")
@pytest.mark.parametrize("kueue", ["v1beta2"], indirect=True)
def test_who_may_not_read_queues_is_let_through(
    launcher: Launcher, cluster: Cluster, tmp_path: Path, kueue: str
) -> None:
    cluster.nodes.add("plain")
    _, config = user_with(cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    listed = cluster.plane.kubectl("get", "role", "finetune-run-launcher", "-n", launcher.namespace, "-o", "json")
    groups = [rule["apiGroups"] for rule in json.loads(listed)["rules"]]
    remove = [{"op": "remove", "path": f"/rules/{groups.index(['kueue.x-k8s.io'])}"}]
    role = ["role", "finetune-run-launcher", "-n", launcher.namespace]
    cluster.plane.kubectl("patch", *role, "--type=json", "-p", json.dumps(remove))
    person = Launcher(cluster, launcher.namespace, config)
    said = person("launch", *BARE, "--gpu", "none", "--queue", "team", "--detach")
    assert said.code == 0 and len(launcher.jobs()) == 1, said.err


# --- permissions ---


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
