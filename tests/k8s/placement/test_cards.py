"""Cards that no table knows: what GPU Feature Discovery says of them on the nodes decides."""

from typing import Any

import pytest

from job.predict.anatomy import anatomy_of
from job.predict.prediction import predict
from job.predict.timing import Machine
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement.inventory import offers
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.job.predict.sizes import SIZES
from tests.k8s.gpu_nodes import PRODUCT, crowd, linux, whole
from tests.k8s.job_settings import spec
from tests.k8s.placement.landing import lands_on
from tests.k8s.placement.other_cards import OTHERS, other, other_shared, other_sliced

A6000 = "NVIDIA-RTX-A6000"


@pytest.mark.parametrize(
    "written", ["NVIDIA RTX A6000", "nvidia rtx a6000", "NVIDIA-RTX-A6000", " nvidia-rtx_a6000 ", "Nvidia  RTX A6000"]
)
def test_a_product_is_found_as_it_is_written(written: str) -> None:
    nodes = [*crowd("gfd"), *map(other, OTHERS)]
    found = place(Wish.of(written), nodes)
    assert found.gpus == (A6000,) and lands_on(found, nodes) == {other("a6000").name} == set(found.nodes)
    assert (found.memory, found.cards[0].capability) == (49140 << 20, (8, 6))
    assert any("speed" in note for note in found.notes)


@pytest.mark.parametrize("product", ["Tesla T4", "NVIDIA L4", "NVIDIA-A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"])
def test_a_product_of_a_known_card_is_that_card(product: str) -> None:
    assert set(Wish.of(product).gpus) <= {"t4", "l4", "a100-80", "h100"}


def test_a_share_and_a_slice_of_a_product_are_taken_only_where_they_are_asked_for() -> None:
    every = [other("a6000"), other("a30"), *map(other_shared, ("a6000", "a30")), other_sliced("a30", "1g.6gb")]
    every += [other_shared("a30", renamed=True), other_sliced("a30", "1g.6gb", mixed=True)]
    for card in ("a6000", "a30"):
        assert lands_on(place(Wish.of(OTHERS[card].product), every), every) == {other(card).name}
        without = [node for node in every if "renamed" not in node.name]
        shared = place(Wish.of(OTHERS[card].product, shared=True), without)
        assert lands_on(shared, without) == {other_shared(card).name}
    for mixed in (False, True):
        nodes = [node for node in every if node.name != other_sliced("a30", "1g.6gb", mixed=not mixed).name]
        found = place(Wish.of("NVIDIA A30", mig="1g.6gb"), nodes)
        assert lands_on(found, nodes) == {other_sliced("a30", "1g.6gb", mixed).name}
        assert found.memory < 6e9


def test_a_size_takes_any_whole_card_with_at_least_so_much() -> None:
    nodes = [*crowd("gfd"), *map(other, OTHERS), *map(other_shared, OTHERS), other_sliced("a30", "1g.6gb")]
    large = {"l40s", "a100-40", "a100-80", "h100", "h200", "b200"}
    found = place(Wish.of("40gb"), nodes)
    assert lands_on(found, nodes) == {f"{gpu}-whole" for gpu in large} | {other(one).name for one in ("a6000", "a40")}
    assert set(found.gpus) == large | {"40gb"}
    assert lands_on(place(Wish.of("24 GB"), nodes), nodes) >= {"l4-whole", "a10g-whole", other("rtx3090").name}
    assert "t4-whole" in lands_on(place(Wish.of("16gb"), nodes), nodes)
    assert "t4-whole" not in lands_on(place(Wish.of("16gb", needs=18_000_000_000), nodes), nodes)


def test_a_size_names_only_what_is_there() -> None:
    only = [whole("gfd", "l40s"), whole("gfd", "t4")]
    assert place(Wish.of("40gb"), only).gpus == ("l40s",)
    assert place(Wish.of("40gb"), [other("a40"), other("a6000")]).gpus == ("40gb",)
    with pytest.raises(GpuUnavailable, match="no 40gb for this run"):
        place(Wish.of("40gb"), [other("rtx3090"), whole("gfd", "t4")])


@pytest.mark.parametrize("platform", ["gke", "eks", "karpenter", "aks"])
def test_a_size_is_known_in_a_cloud_without_gfd_too(platform: str) -> None:
    nodes = crowd(platform)
    found = place(Wish.of("70gb"), nodes)
    assert lands_on(found, nodes) >= {"h100-whole", "a100-80-whole"}
    assert not lands_on(found, nodes) & {"t4-whole", "a100-40-whole"}
    empty = [node for node in nodes if not node.gpus]
    assert place(Wish.of("70gb"), empty).gpus == ("a100-80",), "the smallest is started"


def test_without_nodes_the_labels_are_trusted() -> None:
    product = place(Wish.of("NVIDIA RTX A6000", platform="gfd"), None)
    size = place(Wish.of("40gb", platform="gfd"), None)
    memory = "nvidia.com/gpu.memory"
    nodes = [*map(other, OTHERS), whole("gfd", "h100", **{memory: "81559"}), whole("gfd", "t4", **{memory: "15360"})]
    assert lands_on(product, nodes) == {other("a6000").name}
    assert lands_on(size, nodes) == {other("a6000").name, other("a40").name, "h100-whole"}
    assert any("is not checked here" in note for note in product.notes)


def test_a_card_that_the_images_cuda_does_not_support_is_refused_with_the_reason() -> None:
    nodes = [other("v100"), whole("gfd", "t4")]
    with pytest.raises(GpuUnavailable) as caught:
        place(Wish.of("Tesla V100-SXM2-32GB"), nodes)
    assert "compute capability 7.0" in caught.value.hint
    assert [one.blocked for one in offers(nodes)] == ["compute capability 7.0", ""]
    assert lands_on(place(Wish.of("16gb"), nodes), nodes) == {"t4-whole"}


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("mi300x", "AMD"), ("MI250", "AMD"), ("AMD Instinct MI210", "AMD"), ("Radeon Pro W7900", "AMD"),
        ("gaudi2", "Intel"), ("Intel Data Center GPU Max 1550", "Intel"), ("arc a770", "Intel"),
        ("tpu-v5e", "Google"), ("v5p", "Google"), ("v4-8", "Google"), ("trn1", "AWS"), ("inf2.xlarge", "AWS"),
        ("trainium", "AWS"), ("m3-max", "Apple"), ("Ascend 910B", "Huawei"),
    ],
)  # fmt: skip
def test_cards_of_other_makers_are_refused_with_the_reason(name: str, maker: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"is a card of {maker}: a run needs CUDA"):
        Wish.of(name)


@pytest.mark.parametrize("name", ["t5", "a6000", "v100", "m40", "rtx3090", "xyz", "nvidia", "40tb", "0gb", "nvidia-?x"])
def test_any_other_word_is_refused_with_how_to_write_it(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="is not known") as caught:
        Wish.of(name)
    assert "NVIDIA RTX A6000" in caught.value.hint and "40gb" in caught.value.hint


@pytest.mark.parametrize("name", ["NVIDIA-A30-MIG-1g.6gb", "NVIDIA-RTX-A6000-SHARED"])
def test_a_slice_or_a_share_is_asked_for_by_its_option(name: str) -> None:
    with pytest.raises(SettingsInvalid, match="a slice or a share"):
        Wish.of(name)


@pytest.mark.parametrize("options", [{"mig": "1g.5gb"}, {"label": "gpu=large"}], ids=["with a profile", "with a label"])
def test_a_size_stands_alone(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid):
        place(Wish.of("40gb", **options), [whole("gfd", "l40s")])


def test_memory_and_capability_are_predicted_with_and_times_are_unknown() -> None:
    card = place(Wish.of(A6000), [other("a6000")]).cards[0]
    model = anatomy_of(SIZES["7B"][0], "model")
    found = predict(spec(), model, Machine(card), exact=False)
    assert found.vram == predict(spec(), model, capability=(8, 6), exact=False).vram
    assert found.seconds["train"] == found.seconds["evaluate"] == (None, None) == found.total
    assert found.seconds["export"].most


def test_a_node_that_says_nothing_of_its_memory_is_no_reason_to_refuse() -> None:
    bare = linux("bare", {PRODUCT: A6000}, gpus={"nvidia.com/gpu": 1})
    found = place(Wish.of(A6000, needs=10**12), [bare])
    assert found.nodes == ("bare",) and any("is not checked here" in note for note in found.notes)
