"""A sweep on a real API server: one Job, in which each run has its own spec, place and end."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import BARE, RUN, Launcher, submit
from tests.k8s.rights import user_with

pytestmark = pytest.mark.slow
SWEEP = ["--sweep", "training.learning_rate=1e-4,2e-4", "--sweep", "lora.r=8,16"]


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
