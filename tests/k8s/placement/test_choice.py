"""Which card is taken if a run asks for several, for `auto`, for spot nodes, or for none."""

from dataclasses import replace

import pytest

from job.predict.gpus import GPUS
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement.nodes import Taint
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import crowd, relabelled, whole
from tests.k8s.placement.landing import lands_on


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


def test_a_card_that_is_predicted_too_small_is_taken_by_force() -> None:
    found = place(Wish.of("t4", needs=20 * 10**9, force=True), crowd("gke"))
    assert found.nodes == ("t4-whole",) and any("needs 20.0 GB of VRAM" in note for note in found.notes)
    with pytest.raises(GpuUnavailable, match=r"needs 300\.0 GB"):
        place(Wish.of("auto", needs=300 * 10**9, force=True), crowd("gke"))
