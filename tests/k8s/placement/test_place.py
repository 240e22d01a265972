"""Where a run goes: every GPU on every platform, whole, shared and as a slice, with the wrong cards beside it."""

from dataclasses import replace
from typing import Any

import pytest

from job.gpu_faults import DRIVER
from job.predict.gpus import GPUS
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import INSTANCE_TYPE
from k8s.placement.nodes import Node, Taint, Toleration
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import CARDS, PRODUCT, PRODUCTS, PROFILES, crowd, linux, relabelled, shared, sliced, whole
from tests.k8s.placement.landing import lands_on

EACH = [(platform, gpu) for platform, cards in CARDS.items() for gpu in cards]
CUT = [(platform, gpu) for platform, gpu in EACH if gpu in PROFILES]


def test_every_gpu_of_the_table_has_names_and_no_other() -> None:
    assert list(GPU_NAMES) == list(GPUS)
    assert all(names.gfd for names in GPU_NAMES.values())


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_a_whole_card_is_found_among_the_wrong_ones(platform: str, gpu: str) -> None:
    nodes = crowd(platform)
    found = place(Wish.of(gpu), nodes)
    assert lands_on(found, nodes) == {f"{gpu}-whole"} == set(found.nodes)
    assert found.resource == "nvidia.com/gpu" and found.memory == GPUS[gpu].memory


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_the_platform_can_be_told_where_the_nodes_cannot_be_read(platform: str, gpu: str) -> None:
    found = place(Wish.of(gpu, platform=platform), None)
    assert lands_on(found, crowd(platform)) == {f"{gpu}-whole"}
    assert any("cannot be read" in note for note in found.notes)


@pytest.mark.parametrize(
    ("platform", "gpu", "renamed"),
    [(*one, renamed) for one in EACH for renamed in (False, True)[: 1 + (one[0] != "gke")]],
)
def test_a_share_is_taken_only_where_it_is_asked_for(platform: str, gpu: str, renamed: bool) -> None:
    right = shared(platform, gpu, renamed)
    others = [node for node in crowd(platform) if not node.name.startswith(f"{gpu}-shared")]
    nodes = [*others, right]
    found = place(Wish.of(gpu, shared=True), nodes)
    assert lands_on(found, nodes) == {right.name}
    assert found.resource == next(iter(right.gpus))


@pytest.mark.parametrize(
    ("platform", "gpu", "mixed"), [(*one, mixed) for one in CUT for mixed in (False, True)[: 1 + (one[0] != "gke")]]
)
def test_a_slice_is_taken_only_where_it_is_asked_for(platform: str, gpu: str, mixed: bool) -> None:
    right = sliced(platform, gpu, PROFILES[gpu], mixed)
    others = [node for node in crowd(platform) if node.name not in (f"{gpu}-single", f"{gpu}-mixed")]
    nodes = [*others, right]
    found = place(Wish.of(gpu, mig=PROFILES[gpu]), nodes)
    assert lands_on(found, nodes) == {right.name}
    assert found.resource == next(iter(right.gpus))
    assert found.memory < GPUS[gpu].memory / 4


@pytest.mark.parametrize(("platform", "gpu"), EACH)
def test_where_only_the_wrong_cards_are_none_of_them_is_taken(platform: str, gpu: str) -> None:
    nodes = [node for node in crowd(platform) if node.name != f"{gpu}-whole"]
    if platform == "gfd":
        with pytest.raises(GpuUnavailable, match=f"no {gpu}"):
            place(Wish.of(gpu), nodes)
        return
    found = place(Wish.of(gpu), nodes)
    assert lands_on(found, nodes) == set()
    assert not found.nodes and any("scaled to zero" in note for note in found.notes)


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


@pytest.mark.parametrize("platform", CARDS)
def test_a_node_of_another_architecture_is_not_taken_and_the_reason_is_told(platform: str) -> None:
    grace = whole(platform, "h100" if platform in CARDS and "h100" in CARDS[platform] else "t4")
    grace = replace(grace, labels={**grace.labels, "kubernetes.io/arch": "arm64"})
    wish = Wish.of(grace.name.removesuffix("-whole"))
    if platform == "gfd":
        with pytest.raises(GpuUnavailable) as refusal:
            place(wish, [grace])
        told = refusal.value.hint
    else:
        found = place(wish, [grace])
        told = " ".join(found.notes)
        assert found.nodes == ()
    assert "kubernetes.io/arch=arm64" in told and "built for linux/amd64" in told


def test_a_label_of_the_user_does_not_reach_a_node_of_another_architecture() -> None:
    grace = Node("gh200", {"accelerator": "gh200", "kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux"})
    grace = replace(grace, gpus={"nvidia.com/gpu": 1})
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("h100", label="accelerator=gh200"), [grace])
    assert "cannot run the image" in refusal.value.hint


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


def test_a_list_takes_whichever_is_there() -> None:
    nodes = [whole("gke", "l4"), whole("gke", "a100-40")]
    found = place(Wish.of("t4,l4,a10"), nodes)
    assert lands_on(found, nodes) == {"l4-whole"} and found.memory == GPUS["t4"].memory
    assert whole("gke", "t4").satisfies(found.terms), "a pool of the other card may be scaled to zero"


def test_a100_means_both_and_their_memory_is_not_mixed_up() -> None:
    nodes = [whole("karpenter", gpu) for gpu in ("a100-40", "a100-80", "h100")]
    found = place(Wish.of("a100"), nodes)
    assert lands_on(found, nodes) == {"a100-40-whole", "a100-80-whole"}
    mixed = place(Wish.of("a100-40,h100"), nodes)
    assert lands_on(mixed, nodes) == {"a100-40-whole", "h100-whole"}


@pytest.mark.parametrize(
    ("needs", "gpu"), [(10e9, "t4"), (16e9, "l4"), (24e9, "a100-40"), (60e9, "a100-80"), (100e9, "h200")]
)
def test_auto_takes_the_smallest_that_is_there_and_large_enough(needs: float, gpu: str) -> None:
    nodes = crowd("gke")
    assert place(Wish.of("auto", needs=int(needs)), nodes).nodes == (f"{gpu}-whole",)


def test_auto_prefers_a_larger_one_that_is_there_to_a_pool_that_may_not_be() -> None:
    assert place(Wish.of("auto", needs=10**10), [whole("gke", "l4")]).gpus == ("l4",)


def test_auto_refuses_what_no_card_holds_and_says_so() -> None:
    with pytest.raises(GpuUnavailable, match=r"needs 300\.0 GB"):
        place(Wish.of("auto", needs=300 * 10**9), crowd("gke"))


def test_a_named_card_that_is_too_small_is_refused_with_those_that_are_not() -> None:
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4", needs=20 * 10**9), crowd("gke"))
    assert "l4" in refusal.value.hint


def test_none_runs_on_the_cpu() -> None:
    found = place(Wish.of("none"), None)
    assert found.resource == "" and found.affinity() == {}


@pytest.mark.parametrize(
    ("platform", "labels", "taint"),
    [
        ("gke", {"cloud.google.com/gke-spot": "true"}, Taint("cloud.google.com/gke-spot", "true", "NoSchedule")),
        ("eks", {"eks.amazonaws.com/capacityType": "SPOT"}, None),
        ("karpenter", {"karpenter.sh/capacity-type": "spot"}, None),
        ("eks-auto", {"karpenter.sh/capacity-type": "spot"}, None),
        (
            "aks",
            {"kubernetes.azure.com/scalesetpriority": "spot"},
            Taint("kubernetes.azure.com/scalesetpriority", "spot", "NoSchedule"),
        ),
        ("aks-nap", {"karpenter.sh/capacity-type": "spot"}, None),
    ],
)
def test_spot_nodes_are_taken_where_asked_for(platform: str, labels: dict[str, str], taint: Taint | None) -> None:
    steady = whole(platform, "t4")
    spot = relabelled(replace(steady, taints=(*steady.taints, *([taint] if taint else []))), "spot", {}, **labels)
    nodes = [steady, replace(spot, gpus=steady.gpus)]
    assert lands_on(place(Wish.of("t4", spot=True), nodes), nodes) == {"spot"}
    assert "t4-whole" in lands_on(place(Wish.of("t4"), nodes), nodes)
    if taint:
        only = place(Wish.of("t4"), nodes[1:])
        assert not only.nodes and any("add --spot" in note for note in only.notes)


def test_spot_is_refused_where_there_is_no_such_thing() -> None:
    with pytest.raises(SettingsInvalid, match="no spot nodes"):
        place(Wish.of("t4", spot=True), [whole("gfd", "t4")])


def test_a_label_that_the_user_names_decides() -> None:
    nodes = [
        linux("a", {"accelerator": "t4-16gb"}, gpus={"nvidia.com/gpu": 1}),
        linux("b", {"accelerator": "l4-24gb"}, gpus={"nvidia.com/gpu": 1}),
    ]
    found = place(Wish.of("t4", label="accelerator=t4-16gb,t4-spare"), nodes)
    assert lands_on(found, nodes) == {"a"} and found.gpus == ("t4",)


@pytest.mark.parametrize("provider", ["digitalocean://1", "linode://2", "ocid1.instance.oc1.x", "gce://p/z/n"])
def test_a_named_label_is_enough_for_a_pool_at_zero_in_any_cloud(provider: str) -> None:
    found = place(Wish.of("t4", label="accelerator=t4"), [Node("cpu", provider_id=provider)])
    assert not found.nodes and any("scaled to zero" in note for note in found.notes)
    assert Node("t4", {"accelerator": "t4"}).satisfies(found.terms)


@pytest.mark.parametrize("provider", ["", "k3s://cpu", "kind://docker/kind/cpu"])
def test_where_no_cloud_starts_nodes_a_label_that_no_node_has_is_refused(provider: str) -> None:
    with pytest.raises(GpuUnavailable, match="no t4"):
        place(Wish.of("t4", label="accelerator=t4"), [Node("cpu", provider_id=provider)])


def test_a_run_is_sent_by_force_with_a_note_where_no_node_has_the_card() -> None:
    nodes = [whole("gfd", "l4")]
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), nodes)
    assert "--force" in refusal.value.hint
    found = place(Wish.of("t4", force=True), nodes)
    assert whole("gfd", "t4").satisfies(found.terms) and not found.nodes
    assert any("is sent (--force)" in note and "1 x l4" in note for note in found.notes)


def test_a_card_that_is_predicted_too_small_is_taken_by_force() -> None:
    found = place(Wish.of("t4", needs=20 * 10**9, force=True), crowd("gke"))
    assert found.nodes == ("t4-whole",) and any("needs 20.0 GB of VRAM" in note for note in found.notes)
    with pytest.raises(GpuUnavailable, match=r"needs 300\.0 GB"):
        place(Wish.of("auto", needs=300 * 10**9, force=True), crowd("gke"))


@pytest.mark.parametrize("label", ["nvidia.com/cuda.driver.major", "nvidia.com/cuda.driver-version.major"])
@pytest.mark.parametrize("platform", ["gfd", "eks", "aks"])
def test_a_node_whose_driver_is_too_old_for_the_image_is_not_taken_and_told(platform: str, label: str) -> None:
    old = whole(platform, "t4", "old", **{label: "535"})
    new = whole(platform, "t4", "new", **{label: "580"})
    silent = whole(platform, "t4", "silent")
    found = place(Wish.of("t4"), [old, new, silent])
    assert lands_on(found, [old, new, silent]) == {"new", "silent"} == set(found.nodes)
    assert lands_on(place(Wish.of("t4", shared=True, platform=platform), None), [old]) == set()
    said = f"Node old has t4, but driver 535, and the image needs {DRIVER} or newer."
    if platform == "gfd":
        with pytest.raises(GpuUnavailable) as refusal:
            place(Wish.of("t4"), [old])
        assert said in refusal.value.hint and "t4 (driver 535)" in refusal.value.hint
    else:
        assert said in place(Wish.of("t4"), [old]).notes
    assert lands_on(place(Wish.of("t4", force=True), [old]), [old]) == {"old"}


def test_taints_about_gpus_are_tolerated_and_others_are_told() -> None:
    odd = replace(whole("gfd", "t4"), taints=(Taint("gpu-type", "t4", "NoSchedule"),))
    assert lands_on(place(Wish.of("t4"), [odd]), [odd]) == {"t4-whole"}
    team = replace(odd, taints=(Taint("team", "vision", "NoSchedule"),))
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [team])
    assert "--toleration team=vision:NoSchedule" in refusal.value.hint
    asked = Wish.of("t4", tolerations=(Toleration("team", "vision"),))
    assert lands_on(place(asked, [team]), [team]) == {"t4-whole"}


def test_a_cordoned_node_is_told_and_not_counted() -> None:
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [replace(whole("gfd", "t4"), ready=False)])
    assert "not ready or cordoned" in refusal.value.hint


def test_cards_in_use_are_waited_for_and_the_user_is_told() -> None:
    busy = replace(whole("gfd", "t4"), used={"nvidia.com/gpu": 1})
    found = place(Wish.of("t4"), [busy])
    assert found.nodes == ("t4-whole",) and any("in use" in note for note in found.notes)


@pytest.mark.parametrize(
    ("platform", "gpu", "least"), [("eks", "a100-40", 8), ("gke", "h200", 8), ("aks", "a100-40", 8), ("eks", "h100", 1)]
)
def test_a_node_of_eight_is_warned_of(platform: str, gpu: str, least: int) -> None:
    notes = place(Wish.of(gpu, platform=platform), None).notes
    assert any(f"has {least} of them" in note for note in notes) == (least > 1)
    real = replace(whole(platform, gpu), gpus={"nvidia.com/gpu": 8})
    assert any("has 8 of them" in note for note in place(Wish.of(gpu), [real]).notes)


def test_shares_that_no_label_tells_apart_are_warned_of() -> None:
    node = replace(whole("aks", "t4"), gpus={"nvidia.com/gpu": 7})
    assert any("without a label that says so" in note for note in place(Wish.of("t4"), [node]).notes)


def test_a_refusal_says_what_there_is_instead() -> None:
    nodes = [whole("gfd", "l4"), sliced("gfd", "h100", "1g.10gb", mixed=True), shared("gfd", "a10")]
    odd = linux("v100", {PRODUCT: "Tesla-V100-SXM2-16GB"}, gpus={"nvidia.com/gpu": 2})
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [*nodes, odd])
    has = "It has: 1 x l4, 7 x h100 MIG 1g.10gb, 4 x a10 shared, 2 x Tesla-V100-SXM2-16GB."
    assert refusal.value.hint == f"{has} `launch --force` sends it all the same."


def test_an_empty_cluster_asks_for_the_platform() -> None:
    with pytest.raises(GpuUnavailable) as refusal:
        place(Wish.of("t4"), [])
    assert "--platform" in refusal.value.hint
    assert place(Wish.of("t4", platform="gke"), []).gpus == ("t4",)


def test_a_card_that_the_cloud_does_not_have_is_refused() -> None:
    with pytest.raises(GpuUnavailable, match="no l40s"):
        place(Wish.of("l40s"), crowd("gke"))


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        ("t5", {}, "not known"),
        ("", {}, "empty"),
        ("t4", {"shared": True, "mig": "1g.5gb"}, "cannot be combined"),
        ("a100-40", {"mig": "huge"}, "not a MIG profile"),
        ("t4", {"mig": "1g.5gb", "platform": "gke"}, "no MIG"),
        ("t4", {"label": "nonsense"}, "not a label"),
        ("auto", {"label": "a=b"}, "without a GPU"),
        ("t4", {"platform": "custom"}, "needs the label"),
        ("t4", {}, "cannot be read"),
        ("t4", {"platform": "gfd", "spot": True}, "spot"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(text: str, options: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsInvalid, match=what):
        place(Wish.of(text, **options), None)
