"""The launcher on a real API server: what it sends, what the cluster makes of it, and what it says about it."""

import json
import signal
from typing import Any

import pytest
from ruamel.yaml import YAML

from job.errors import every_error
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, RUN, Launcher, add, submit

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster) -> Launcher:
    """In a namespace that enforces Pod Security `restricted`. The volume claim is there, and never bound: pods that
    would wait for it ask for no store."""
    return Launcher(cluster, cluster.namespace(restricted=True))


@pytest.mark.parametrize("platform", ["gke", "eks", "karpenter", "eks-auto", "aks", "aks-nap", "gfd"])
def test_gpu_t4_lands_on_the_t4_of_every_platform(launcher: Launcher, cluster: Cluster, platform: str) -> None:
    other = "a100-40"
    add(cluster, whole(platform, other), whole(platform, "t4"))
    cluster.nodes.add("plain")
    submit(launcher, "--gpu", "t4")
    pod = cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace)
    assert pod.spec.node_name == whole(platform, "t4").name


def test_a_label_that_an_arm_node_has_too_leads_to_the_node_that_runs_the_image(
    launcher: Launcher, cluster: Cluster
) -> None:
    for name, arch in (("gh200", "arm64"), ("hgx", "amd64")):
        labels = {"accelerator": "hopper", "kubernetes.io/arch": arch}
        cluster.nodes.add(name, labels=labels, gpus=1, room={"cpu": "64" if arch == "arm64" else "16"})
    submit(launcher, "--gpu", "h100", "--gpu-label", "accelerator=hopper")
    assert cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace).spec.node_name == "hgx"


@pytest.mark.parametrize(("platform", "seconds"), [("gke", 60), ("karpenter", 60), ("gfd", 300)])
def test_a_pod_leaves_a_lost_node_of_a_cloud_sooner_than_one_on_premises(
    launcher: Launcher, cluster: Cluster, platform: str, seconds: int
) -> None:
    add(cluster, whole(platform, "t4"))
    submit(launcher, "--gpu", "t4")
    pod = cluster.core.read_namespaced_pod(launcher.pod(), launcher.namespace)
    lost = {one.key: one.toleration_seconds for one in pod.spec.tolerations if one.effect == "NoExecute"}
    assert lost == {f"node.kubernetes.io/{state}": seconds for state in ("not-ready", "unreachable")}


def test_what_dry_run_prints_is_what_is_created(launcher: Launcher, cluster: Cluster) -> None:
    add(cluster, whole("gke", "t4"))
    printed = launcher("launch", *BARE, "--gpu", "t4", "--dry-run")
    assert printed.code == 0, printed.err
    cluster.plane.kubectl("apply", "-n", launcher.namespace, "--dry-run=server", "-f", "-", stdin=printed.out)
    config, job = YAML(typ="safe").load_all(printed.out)
    name = submit(launcher, "--gpu", "t4")
    (made,) = launcher.jobs()
    assert name == made["metadata"]["name"]
    assert holds(made, job)
    stored = cluster.plane.kubectl(
        "get", "configmap", config["metadata"]["name"], "-n", launcher.namespace, "-o", "json"
    )
    assert holds(json.loads(stored), config)


def holds(found: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; the API server adds its defaults."""
    if isinstance(wanted, dict):
        return all(key in found and holds(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(holds, found, wanted))
    return str(found) == str(wanted)


def test_the_config_map_belongs_to_the_job_and_goes_with_it(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    maps = [
        one for one in cluster.core.list_namespaced_config_map(launcher.namespace).items if name in one.metadata.name
    ]
    (owner,) = maps[0].metadata.owner_references
    assert (owner.kind, owner.name, owner.block_owner_deletion) == ("Job", name, False)
    launcher.run_pod()
    said = launcher("cancel", name)
    assert said.code == 0 and "is deleted" in said.err, said.err
    assert launcher.jobs() == [] and cluster.pods(launcher.namespace) == []

    def left() -> list[Any]:
        items = cluster.core.list_namespaced_config_map(launcher.namespace).items
        return [one for one in items if name in one.metadata.name]

    eventually(lambda: not left(), "the ConfigMap to go")


def test_the_same_run_twice_is_joined_refused_or_made_anew(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    same = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert "exists already" in same.err and "other settings" not in same.err
    more = ["--memory", "30Gi", "--env", "A=b", "--label", "team=x", "--cpu", "0.5", "--deadline", "900"]
    changed = launcher("launch", *BARE, "--gpu", "none", "--detach", *more)
    said = changed.err.partition("other settings, and keeps them: ")[2]
    for field in (
        "labels.team",
        "activeDeadlineSeconds",
        "containers.finetune.env.A",
        "requests.memory",
        "requests.cpu",
    ):
        assert field in said, changed.err
    refused = launcher("launch", *BARE, "--gpu", "none", "--detach", "--if-exists", "fail")
    assert refused.code == 13 and f"{name} exists already" in refused.err
    assert len(launcher.jobs()) == 1
    other = submit(launcher, "--gpu", "none", "--if-exists", "new")
    assert other != name and len(launcher.jobs()) == 2


def test_a_failed_run_is_made_again_under_its_name(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(64)
    cluster.condition(launcher.namespace, name, "Failed")
    again = launcher("launch", *BARE, "--gpu", "none", "--detach")
    assert again.code == 0 and "submitted again" in again.err
    (job,) = launcher.jobs()
    assert job["metadata"]["name"] == name
    launcher.end_pod(0)
    cluster.condition(launcher.namespace, name, "Complete")
    assert launcher("wait", name).code == 0


@pytest.mark.parametrize(
    "error", [one for one in every_error() if one.kubernetes == "FailJob"], ids=lambda one: one.__name__
)
def test_a_fault_that_no_retry_mends_ends_the_run_with_its_code(
    launcher: Launcher, cluster: Cluster, error: Any
) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(error.code, message="model.id: there is no such model\nName another one.")
    said = launcher("wait", name)
    assert said.code == error.code
    assert "model.id: there is no such model" in said.err and "Name another one." in said.err
    assert launcher("list", "-o", "json").json()[0]["code"] == error.code


def test_an_interruption_is_replaced_and_explained_and_does_not_count(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    first = launcher.end_pod(75)
    said = launcher("status", name)
    assert "waiting for a new pod after exit code 75" in said.err or launcher.pod() != first
    eventually(lambda: launcher.pod() != first, "a replacement", timeout_s=60)
    launcher.end_pod(0)
    cluster.condition(launcher.namespace, name, "Complete")


def test_a_container_that_was_killed_for_memory_is_named(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.end_pod(78, reason="OOMKilled")
    said = launcher("wait", name)
    assert said.code == 78 and "killed for memory" in said.err


def test_what_a_run_waits_for_is_said(launcher: Launcher, cluster: Cluster) -> None:
    add(cluster, whole("gke", "t4"))
    first = submit(launcher, "--gpu", "t4")
    launcher.run_pod()
    other = submit(launcher, "--gpu", "t4", "--set", "lora.r=16")
    said = eventually(
        lambda: next((one for one in [launcher("status", other).err] if "no node for its pod" in one), None), "a reason"
    )
    assert "Insufficient nvidia.com/gpu" in said
    offers = launcher("gpus", "-o", "json").json()
    assert [(one["gpu"], one["units"], one["free"]) for one in offers] == [("t4", 1, 0)]
    assert {run["name"] for run in launcher("list", "-o", "json").json()} == {first, other}


def test_list_and_status_say_what_a_run_is_doing_and_what_it_has_cost(launcher: Launcher, cluster: Cluster) -> None:
    add(cluster, whole("gke", "t4"))
    name = submit(launcher, "--gpu", "t4", "--price", "3600")
    step = {"event": "train.log", "stage": "train", "step": 120, "total": 500, "loss": 1.2345, "eta_s": 1500}
    cluster.kubelet.log(launcher.run_pod()).write(json.dumps(step))
    for command in (["list"], ["list", "--all-namespaces"], ["status", name]):
        said = launcher(*command)
        line = next(line for line in said.out.splitlines() if name in line)
        assert "training 120 of 500 steps, loss 1.234, 25m00s left" in line, said
    run = launcher("status", name, "-o", "json").json()
    assert run["progress"]["stage"] == "train" and run["cost"] == run["held_s"] is not None
    launcher.end_pod(0)
    watched = launcher("status", name, "--watch")
    assert watched.code == 0 and "complete" in watched.out
    assert launcher("list", "--watch", "-o", "json").code == 2


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


def test_a_run_is_paused_and_goes_on(launcher: Launcher, cluster: Cluster) -> None:
    cluster.nodes.add("plain")
    name = submit(launcher, "--gpu", "none")
    launcher.run_pod()
    assert launcher("cancel", name, "--pause").code == 0
    eventually(lambda: not cluster.pods(launcher.namespace), "the pod to go")
    assert launcher("list", "-o", "json").json()[0]["state"] == "suspended"
    assert "resume" in launcher("status", name).err
    assert launcher("resume", name).code == 0
    launcher.end_pod(0)
    assert launcher("wait", name).code == 0


def test_ctrl_c_leaves_the_run_and_says_how_to_come_back(launcher: Launcher, cluster: Cluster) -> None:
    name = submit(launcher, "--gpu", "none")
    with launcher.started("wait", name) as process:
        assert process.stderr and "no node" in process.stderr.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"{name} goes on; `finetune-run logs -f {name}` follows it again" in err
    assert len(launcher.jobs()) == 1


def test_waiting_ends_after_its_time_and_the_run_goes_on(launcher: Launcher, cluster: Cluster) -> None:
    name = submit(launcher, "--gpu", "none")
    said = launcher("wait", name, "--timeout", "2")
    assert said.code == 17 and "it goes on" in said.err and "no node for its pod yet" in said.err


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
