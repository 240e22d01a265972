"""`launch` on a real API server: what it sends, where it lands, and who follows it."""

import json
import signal
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import BARE, Launcher, add, submit

pytestmark = pytest.mark.slow


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
