"""How a card is recognized by its node's labels, and told from a share or a part of one."""

from dataclasses import replace

import pytest

from k8s.errors import GpuUnavailable
from k8s.placement.kinds import INSTANCE_TYPE
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import CARDS, PRODUCT, PRODUCTS, linux, whole
from tests.k8s.placement.landing import lands_on


@pytest.mark.parametrize("gpu", PRODUCTS)
def test_old_feature_discovery_says_shares_only_in_the_products_name(gpu: str) -> None:
    node = replace(whole("gfd", gpu), labels={PRODUCT: f"{PRODUCTS[gpu]}-SHARED", "nvidia.com/gpu.replicas": "4"})
    with pytest.raises(GpuUnavailable, match="shared"):
        place(Wish.of(gpu), [node])


@pytest.mark.parametrize("platform", ["eks", "karpenter", "aks"])
def test_old_feature_discovery_in_a_cloud_does_not_pass_shares_off_as_cards(platform: str) -> None:
    node = whole(platform, "t4", **{PRODUCT: "Tesla-T4-SHARED"})
    assert lands_on(place(Wish.of("t4"), [node]), [node]) == set()


@pytest.mark.parametrize("platform", [platform for platform in CARDS if platform != "gke"])
@pytest.mark.parametrize("strategy", ["time-slicing", "mps"])
def test_a_sharing_strategy_alone_says_that_a_card_is_shared(platform: str, strategy: str) -> None:
    node = whole(platform, "t4", **{"nvidia.com/gpu.sharing-strategy": strategy})
    assert not node.satisfies(place(Wish.of("t4", platform=platform), None).terms)


def test_on_gke_where_only_its_own_labels_are_asked_for_nvidias_sharing_is_seen_on_the_node() -> None:
    node = whole("gke", "t4", **{"nvidia.com/gpu.sharing-strategy": "time-slicing"})
    found = place(Wish.of("t4"), [node, whole("gke", "l4")])
    assert found.nodes == ()
    assert any("t4-whole offers shares" in note and "--platform gfd" in note for note in found.notes)


def test_of_one_alternative_the_labels_with_one_value_are_the_node_selector() -> None:
    found = place(Wish.of("t4", platform="gke", spot=True), None)
    assert found.selector() == {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-t4",
        "cloud.google.com/gke-spot": "true",
    }
    assert "In" not in str(found.affinity()) and "gke-gpu-partition-size" in str(found.affinity())
    several = place(Wish.of("t4,l4", platform="gke", spot=True), None)
    assert several.selector() == {}
    assert len(several.affinity()["nodeAffinity"].popitem()[1]["nodeSelectorTerms"]) == 2


@pytest.mark.parametrize("product", ["A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"])
def test_old_and_other_names_of_a_card_are_known(product: str) -> None:
    node = linux("n", {PRODUCT: product}, gpus={"nvidia.com/gpu": 1})
    assert place(Wish.of("a100-40"), [node]).nodes == ("n",)


def test_parts_of_a_card_that_clouds_sell_are_not_the_card() -> None:
    tenth = linux("nv6", {INSTANCE_TYPE: "Standard_NV6ads_A10_v5"}, gpus={"nvidia.com/gpu": 1})
    labels = {"karpenter.k8s.aws/instance-gpu-name": "l4", "karpenter.k8s.aws/instance-family": "g6f"}
    eighth = linux("g6f", labels, gpus={"nvidia.com/gpu": 1})
    assert lands_on(place(Wish.of("a10", platform="aks"), None), [tenth]) == set()
    assert lands_on(place(Wish.of("l4", platform="karpenter"), None), [eighth]) == set()


def test_in_a_cloud_feature_discoverys_labels_are_used_only_where_a_node_has_them() -> None:
    bare = linux("old", provider_id="aws:///eu-1/i-1")
    keys = {one.key for term in place(Wish.of("t4"), [bare]).terms for one in term if one.operator == "In"}
    assert PRODUCT not in keys and "node.kubernetes.io/instance-type" in keys
    odd = linux("odd", {PRODUCT: "Tesla-T4"}, gpus={"nvidia.com/gpu": 1}, provider_id="aws:///eu-1/i-2")
    found = place(Wish.of("t4"), [bare, odd])
    assert found.nodes == ("odd",) and [one.key for one in found.terms[-1] if one.operator == "In"] == [PRODUCT]


def test_karpenter_reads_its_own_labels_first() -> None:
    first = place(Wish.of("t4"), [whole("eks", "t4"), whole("karpenter", "t4")]).terms[0][0]
    assert first.key == "karpenter.k8s.aws/instance-gpu-name"


def test_a_label_that_the_user_names_decides() -> None:
    nodes = [
        linux("a", {"accelerator": "t4-16gb"}, gpus={"nvidia.com/gpu": 1}),
        linux("b", {"accelerator": "l4-24gb"}, gpus={"nvidia.com/gpu": 1}),
    ]
    found = place(Wish.of("t4", label="accelerator=t4-16gb,t4-spare"), nodes)
    assert lands_on(found, nodes) == {"a"} and found.gpus == ("t4",)


def test_shares_that_no_label_tells_apart_are_warned_of() -> None:
    node = replace(whole("aks", "t4"), gpus={"nvidia.com/gpu": 7})
    assert any("without a label that says so" in note for note in place(Wish.of("t4"), [node]).notes)
