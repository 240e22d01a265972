"""The real scheduler: cards that no table knows, by product and by size, among shares, slices and smaller cards."""

import json
from pathlib import Path

import pytest

from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.cluster.fixtures import Cluster, eventually
from tests.job.predict.sizes import SIZES
from tests.k8s.gpu_nodes import whole
from tests.k8s.launcher import Launcher, add
from tests.k8s.placement.other_cards import OTHERS, other, other_shared, other_sliced
from tests.k8s.placement.pods import pod_for

pytestmark = pytest.mark.slow
MEMORY = "nvidia.com/gpu.memory"


def test_each_wish_lands_on_the_one_node_that_is_right(cluster: Cluster) -> None:
    nodes = [*map(other, OTHERS), *map(other_shared, OTHERS), other_sliced("a30", "1g.6gb")]
    nodes += [whole("gfd", "t4", **{MEMORY: "15360"}), whole("gfd", "h100", **{MEMORY: "81559"})]
    add(cluster, *nodes)
    asked = [
        (other("a6000"), Wish.of("nvidia rtx a6000")),
        (other("rtx3090"), Wish.of("NVIDIA GeForce RTX 3090")),
        (other_shared("a6000"), Wish.of("NVIDIA-RTX-A6000", shared=True)),
        (other_sliced("a30", "1g.6gb"), Wish.of("NVIDIA A30", mig="1g.6gb")),
        (whole("gfd", "h100"), Wish.of("80gb")),
    ]
    namespace = cluster.namespace()
    for right, wish in asked:
        cluster.core.create_namespaced_pod(namespace, pod_for(wish, right, nodes))

    def landed() -> dict[str, str]:
        return {pod.metadata.name: pod.spec.node_name for pod in cluster.pods(namespace) if pod.spec.node_name}

    eventually(lambda: len(landed()) == len(asked), f"{len(asked)} pods to be scheduled", 60)
    assert landed() == {right.name: right.name for right, _ in asked}


def test_a_size_that_nobody_can_read_is_left_to_the_scheduler(cluster: Cluster) -> None:
    add(cluster, other("rtx3090"), other("a40"), other("v100"), other_sliced("a30", "1g.6gb"))
    namespace = cluster.namespace()
    placement = place(Wish.of("40gb", platform="gfd"), None)
    assert {one.operator for term in placement.terms for one in term} >= {"Gt"}
    pod = pod_for(Wish.of("40gb"), other("a40"), [other("a40")])
    pod["spec"]["affinity"] = placement.affinity()
    cluster.core.create_namespaced_pod(namespace, pod)
    assert eventually(lambda: cluster.pods(namespace)[0].spec.node_name, "a node") == other("a40").name


@pytest.mark.usefixtures("nothing_is_rehearsed")
def test_the_launcher_predicts_with_what_the_labels_say(cluster: Cluster, tmp_path: Path) -> None:
    add(cluster, other("a6000"), other("rtx3090"))
    launcher = Launcher(cluster, cluster.namespace(restricted=True))
    (tmp_path / "config.json").write_text(json.dumps(SIZES["30B"][0]))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "rows.jsonl").write_text('{"text": "A row."}\n' * 40)
    run = ["--model", str(tmp_path), "--dataset", str(tmp_path / "rows.jsonl")]
    said = launcher("launch", *run, "--gpu", "NVIDIA RTX A6000", "--dry-run")
    assert said.code == 0 and "NVIDIA-RTX-A6000" in said.out, said.err
    assert "The speed of NVIDIA-RTX-A6000 is not known" in said.err and "time: likely unknown" in said.err
    chart = launcher("launch", *run, "--gpu", "NVIDIA RTX A6000", "--emit", "values")
    assert chart.code == 16 and "the chart does not know NVIDIA-RTX-A6000" in chart.err
    plan = launcher("plan", *run, "--gpu", "40gb")
    assert plan.code == 0 and "40gb" in plan.err, plan.err
    absent = launcher("launch", *run, "--gpu", "NVIDIA A40", "--dry-run")
    assert absent.code == 15 and "NVIDIA-RTX-A6000" in absent.err
    (tmp_path / "config.json").write_text(json.dumps(SIZES["65B"][0]))
    small = launcher("launch", *run, "--gpu", "NVIDIA GeForce RTX 3090", "--dry-run")
    assert small.code == 15 and "NVIDIA-GeForce-RTX-3090 has less" in small.err
