"""What stops a launch on a real API server before anything is made: a quota, a missing object, no room, no cluster."""

import json
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, RUN, Launcher, add, submit

pytestmark = pytest.mark.slow


def quota(launcher: Launcher, **hard: str) -> None:
    core, space = launcher.cluster.core, launcher.namespace
    spec = {"hard": {name.replace("_", "."): amount for name, amount in hard.items()}}
    core.create_namespaced_resource_quota(space, {"metadata": {"name": "small"}, "spec": spec})
    eventually(lambda: core.read_namespaced_resource_quota("small", space).status.hard, "the quota")


def test_a_quota_that_has_no_room_for_the_pod_stops_a_launch_before_anything_is_made(launcher: Launcher) -> None:
    quota(launcher, limits_memory="1Gi")
    said = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert said.code == 14 and "exceeded quota: small" in said.err
    assert launcher.jobs() == []


def test_a_quota_that_others_use_up_is_waited_for(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    quota(launcher, limits_memory="15Gi")
    submit(launcher, "--gpu", "none")
    launcher.run_pod()
    other = submit(launcher, "--gpu", "none", "--set", "lora.r=16")
    said = eventually(
        lambda: next((one for one in [launcher("status", other).err] if "its pod is refused" in one), None), "a reason"
    )
    assert "exceeded quota: small" in said
    third = launcher("launch", *BARE, "--gpu", "none", "--detach", "--set", "lora.r=32")
    assert third.code == 0 and "the run waits until other pods leave it room" in third.err


def test_a_quota_on_cpu_limits_is_met_by_an_option(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    quota(launcher, limits_cpu="4")
    said = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert said.code == 14 and "must specify limits.cpu" in said.err and "Set --cpu-limit" in said.err
    less = launcher("launch", *BARE, "--gpu", "none", "--cpu", "2", "--cpu-limit", "1")
    assert less.code == 16 and "cpu_limit: 1 is less than the 2 cores" in less.err
    submit(launcher, "--gpu", "none", "--cpu-limit", "3.5")
    pod = cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace)
    assert pod.spec.containers[0].resources.limits["cpu"] == "3500m"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--priority-class", "none-such"], "no PriorityClass with name none-such"),
        (["--runtime-class", "none-such"], 'RuntimeClass "none-such" not found'),
        (["--memory", "40Gi"], "maximum memory usage per Container is 32Gi"),
    ],
    ids=str,
)
def test_what_refuses_every_pod_stops_a_launch(
    launcher: Launcher, cluster: Cluster, options: list[str], words: str
) -> None:
    limits = {"type": "Container", "max": {"memory": "32Gi"}}
    body = {"metadata": {"name": "most"}, "spec": {"limits": [limits]}}
    cluster.core.create_namespaced_limit_range(launcher.namespace, body)
    said = launcher("launch", *BARE, "--gpu", "none", "--detach", *options)
    assert said.code == 14 and words in said.err, said.err
    assert launcher.jobs() == []


def test_a_run_that_is_not_there_is_one_sentence(launcher: Launcher) -> None:
    said = launcher("status", "no-such-run")
    assert said.code == 12 and "there is no jobs.batch" in said.err and "Traceback" not in said.err


def test_a_secret_that_is_not_there_stops_a_launch_before_anything_is_made(
    launcher: Launcher, cluster: Cluster
) -> None:
    cluster.nodes.add("plain")
    said = launcher("launch", *BARE, "--gpu", "none", "--detach", "--secret", "my-tokens")
    assert said.code == 12 and "there is no secret my-tokens" in said.err
    assert launcher.jobs() == []


def test_a_volume_claim_that_is_not_there_stops_a_launch_too(launcher: Launcher) -> None:
    said = launcher("launch", *RUN, "--gpu", "none", "--detach")
    assert said.code == 12 and "there is no persistentvolumeclaim runs" in said.err


def test_a_card_that_the_cluster_does_not_have_is_refused_with_what_it_has(
    launcher: Launcher, cluster: Cluster
) -> None:
    add(cluster, whole("gfd", "l4"))
    said = launcher("launch", *BARE, "--gpu", "t4", "--detach")
    assert said.code == 15 and "l4" in said.err
    assert launcher.jobs() == []


def test_a_run_that_no_node_has_room_for_is_refused_and_sent_by_force(launcher: Launcher, cluster: Cluster) -> None:
    add(cluster, whole("gke", "t4"))
    said = launcher("launch", *BARE, "--gpu", "t4", "--memory", "100Gi", "--detach")
    assert said.code == 15 and "the largest node with this GPU (t4-whole) has 64.0" in said.err
    assert "--force" in said.err and launcher.jobs() == []
    forced = launcher("launch", *BARE, "--gpu", "t4", "--memory", "100Gi", "--detach", "--force")
    assert forced.code == 0 and "it is sent (--force)" in forced.err and len(launcher.jobs()) == 1


def test_a_wrong_spec_ends_with_the_jobs_own_code(launcher: Launcher) -> None:
    said = launcher("launch", *BARE, "--gpu", "none", "--set", "training.learning_rate=fast")
    assert said.code == 64 and "training.learning_rate" in said.err


def test_no_cluster_is_one_sentence(launcher: Launcher) -> None:
    import subprocess

    environment = launcher.environment | {"KUBECONFIG": "/nowhere"}
    done = subprocess.run(launcher.command("list"), capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 10 and "no cluster is configured" in done.stderr


def test_a_server_that_does_not_answer_is_one_sentence(launcher: Launcher, tmp_path: Any) -> None:
    dead = tmp_path / "dead.conf"
    config = json.loads(launcher.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    dead.write_text(json.dumps(config))
    said = Launcher(launcher.cluster, launcher.namespace, dead)("list")
    assert said.code == 10 and "https://127.0.0.1:9 does not answer" in said.err and "Traceback" not in said.err
