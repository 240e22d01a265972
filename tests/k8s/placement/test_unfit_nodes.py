"""A node that has the card but cannot run the pod: another architecture, an old driver, taints, cards in use."""

from dataclasses import replace

import pytest

from job.gpu_faults import DRIVER
from k8s.errors import GpuUnavailable
from k8s.placement.nodes import Node, Taint, Toleration
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import CARDS, whole
from tests.k8s.placement.landing import lands_on


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
