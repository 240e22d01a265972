"""Results from a volume: through a pod, by commands that a real API server hands on to the streaming server of a real
kubelet. What stands in for the container is a process on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job.store import open_store
from k8s.cluster.client import Cluster as Api
from k8s.cluster.pod_store import PodStore
from k8s.cluster.volume_pod import volume_pod
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.finished import CONTENT, finish
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import Launcher, Said, add
from tests.k8s.rights import granted, user_with
from tests.k8s.volume_pods import started, volume

pytestmark = pytest.mark.slow
LARGE = CONTENT * 24
"""25 MB."""


@pytest.fixture
def launcher(cluster: Cluster, tmp_path: Path) -> Iterator[Launcher]:
    with volume(cluster, tmp_path / "store") as found:
        yield found


def results(launcher: Launcher, name: str, *options: str, seen: dict[str, Any] | None = None) -> Said:
    with started(launcher, "reader", seen):
        return launcher("results", name, *options)


@pytest.fixture
def run(launcher: Launcher, tmp_path: Path) -> str:
    name = launcher.launch("--gpu", "none")
    finish(str(tmp_path / "store"), name, tmp_path / "made", content=LARGE)
    return name


def test_large_files_come_from_a_volume_whole(launcher: Launcher, run: str, tmp_path: Path) -> None:
    said = results(launcher, run, "--into", str(tmp_path / "models"))
    assert said.code == 0 and "2 files in" in said.err, said.err
    assert (tmp_path / "models" / "Tuned-Q4_K_M.gguf").read_bytes() == LARGE
    left = [pod.metadata.name for pod in launcher.cluster.pods(launcher.namespace)]
    assert not [name for name in left if "-reader-" in name]


def test_a_transfer_that_breaks_off_goes_on_where_it_stopped(launcher: Launcher, run: str, tmp_path: Path) -> None:
    launcher.cluster.kubelet.cut_exec_after += [5_000_000, 7_000_000]
    said = results(launcher, run, "--into", str(tmp_path / "models"), "--type", "q4_k_m")
    assert said.code == 0, said.err
    assert (tmp_path / "models" / "Tuned-Q4_K_M.gguf").read_bytes() == LARGE
    assert not launcher.cluster.kubelet.cut_exec_after


@pytest.mark.parametrize("kept_on_the_gpu_node", [False, True], ids=["anywhere", "on the GPU's node"])
def test_the_reader_goes_to_a_gpu_node_only_if_the_volume_is_there(
    launcher: Launcher, cluster: Cluster, tmp_path: Path, kept_on_the_gpu_node: bool
) -> None:
    add(cluster, whole("gke", "t4"))
    name = launcher.launch("--gpu", "t4")
    finish(str(tmp_path / "store"), name, tmp_path / "made")
    if kept_on_the_gpu_node:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["t4-whole"]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
        volume = f"runs-{launcher.namespace}"
        cluster.core.patch_persistent_volume(volume, {"spec": {"nodeAffinity": affinity}})
    found: dict[str, Any] = {}
    assert results(launcher, name, "--into", str(tmp_path / "models"), seen=found).code == 0
    assert found["node"] == ("t4-whole" if kept_on_the_gpu_node else "plain")
    assert ("nvidia.com/gpu" in found["tolerated"]) == kept_on_the_gpu_node


def test_a_pod_into_which_a_service_mesh_has_put_a_container_is_read_too(
    launcher: Launcher, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(launcher.kubeconfig))
    pod = volume_pod("runs", "image", None)
    pod["metadata"]["name"] = "reader"
    beside = pod["spec"]["containers"][0] | {"name": "istio-proxy"}
    pod["spec"]["containers"].append(beside)
    launcher.cluster.core.create_namespaced_pod(launcher.namespace, pod)
    on_node = lambda: launcher.cluster.core.read_namespaced_pod("reader", launcher.namespace).spec.node_name  # noqa: E731
    eventually(on_node, "the pod on a node")
    store = PodStore(Api(None, launcher.namespace), "reader")
    assert store.get(f"runs/{run}/manifest.json") and store.get("runs/none/manifest.json") is None
    store.close()


def test_the_role_of_the_launcher_is_enough_and_tells_what_it_lacks(
    launcher: Launcher, run: str, tmp_path: Path
) -> None:
    user, config = user_with(launcher.cluster, launcher.namespace, tmp_path, "Role", "RoleBinding")
    person = Launcher(launcher.cluster, launcher.namespace, config)
    assert results(person, run, "--into", str(tmp_path / "models"), "--type", "document").code == 0
    used = launcher.cluster.plane.asked_by(user)
    assert {one for one in used if one[1] == "pods/exec"} <= granted("Role") and ("get", "pods/exec") in used
    launcher.cluster.plane.kubectl("delete", "role", "-n", launcher.namespace, "--all")
    rules = [{"apiGroups": ["", "batch"], "resources": ["jobs", "pods"], "verbs": ["create", "delete", "get", "list"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": rules}
    role["metadata"] = {"name": "finetune-run-launcher"}
    launcher.cluster.plane.kubectl("create", "-n", launcher.namespace, "-f", "-", stdin=json.dumps(role))
    said = results(person, run, "--into", str(tmp_path / "other"))
    assert said.code == 11 and "is not allowed to get pods/exec here" in said.err, said.err


def test_a_file_on_the_volume_that_is_not_what_its_hash_says_is_refused(
    launcher: Launcher, run: str, tmp_path: Path
) -> None:
    open_store(str(tmp_path / "store")).put(f"stages/quantize/{run}/README.md", LARGE[::-1])
    said = results(launcher, run, "--into", str(tmp_path / "models"), "--type", "document")
    assert said.code == 82 and not (tmp_path / "models" / "README.md").exists()


def test_a_run_that_has_not_finished_has_no_results_on_its_volume(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    name = launcher.launch("--gpu", "none")
    said = results(launcher, name)
    assert said.code == 12 and "has no results in the volume in pod" in said.err


def test_runs_on_a_volume_are_compared_through_one_pod(launcher: Launcher, run: str, tmp_path: Path) -> None:
    """The Job of the second one is deleted."""
    finish(str(tmp_path / "store"), "earlier", tmp_path / "made", loss=1.25)
    with started(launcher, "reader"):
        said = launcher("compare", run, "earlier", "--store-pvc", "runs", "-o", "json")
    assert said.code == 0, said.err
    losses = next(one for one in said.json()["measures"] if one["name"] == "held-out loss after")
    assert losses["values"] == {"A": 1.5, "B": 1.25} and losses["comparable"] == {"A": 0, "B": 0}
    assert said.err.count("reading the volume runs through a pod") == 1
    missing = launcher("compare", run, "nobody")
    assert missing.code == 12
