"""The pod of `helm test`, which tries the access that a run needs."""

import pytest

from tests.k8s.chart.charts import LEAST, container_of, of_kind, pod_of, template

pytestmark = pytest.mark.slow


def test_the_access_test_is_a_small_pod_of_the_same_image_without_a_gpu() -> None:
    values = LEAST | {"gpu": "t4", "existingSecret": "tokens", "nodeSelector": {"zone": "a"}}
    pod = of_kind(template(values), "Pod")
    container = pod["spec"]["containers"][0]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert container["args"] == ["check", "--access"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "3Gi", "ephemeral-storage": "1Gi"}
    assert container["envFrom"] == [{"secretRef": {"name": "tokens"}}]
    assert "affinity" not in pod["spec"]
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
    assert {"name": "FINETUNE_SPEC", "value": "/etc/finetune-run/spec.json"} in container["env"]
    run = container_of(template(values))
    assert {"name": "FINETUNE_GPU", "value": "required"} in run["env"]
    assert "FINETUNE_GPU" not in [one["name"] for one in container["env"]]


def test_the_access_test_needs_no_volume_of_the_run() -> None:
    """The run may work on the claim on another node, and a volume of the test's own would choose its zone."""
    volumes = [{"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}}]
    volumes.append({"name": "more", "ephemeral": {"volumeClaimTemplate": {"spec": {"storageClassName": "fast"}}}})
    values = LEAST | {"store": {"size": "20Gi"}, "cache": {"existingClaim": "models"}, "scratch": {"size": "90Gi"}}
    objects = template(values | {"volumes": volumes})
    found = {one["name"]: set(one) - {"name"} for one in of_kind(objects, "Pod")["spec"]["volumes"]}
    assert {name for name, kinds in found.items() if kinds == {"emptyDir"}} >= {"work", "store", "cache", "tmp", "more"}
    assert found["rows"] == {"persistentVolumeClaim"}
    assert {one["name"] for one in pod_of(objects)["volumes"]} == set(found)


def test_the_access_test_mounts_a_claim_from_which_the_run_reads() -> None:
    read = {"spec": {"model": {"id": "/cache/llama"}, "dataset": [{"id": "/store/rows.jsonl"}]}}
    objects = template(LEAST | read | {"store": {"size": "20Gi"}, "cache": {"existingClaim": "models"}})
    found = {one["name"]: set(one) for one in of_kind(objects, "Pod")["spec"]["volumes"]}
    assert "persistentVolumeClaim" in found["store"] & found["cache"]
    assert of_kind(objects, "Pod")["spec"]["tolerations"] == pod_of(objects)["tolerations"], "its node may be a GPU's"


@pytest.mark.parametrize(
    ("platform", "tolerates"),
    [("gke", False), ("aks", True), ("gfd", True), (["eks", "karpenter"], True), (["gke", "gfd"], False)],
)
def test_the_access_test_goes_to_a_gpu_node_where_there_may_be_no_other(
    platform: str | list[str], tolerates: bool
) -> None:
    """Not on GKE: Autopilot refuses it. What the user tolerates it does everywhere."""
    mine = {"key": "team", "operator": "Exists"}
    pod = of_kind(template(LEAST | {"gpu": "t4", "platform": platform, "tolerations": [mine]}), "Pod")
    assert mine in pod["spec"]["tolerations"]
    assert ("nvidia.com/gpu" in [one["key"] for one in pod["spec"]["tolerations"]]) == tolerates
