"""What is told of disk before a node is started for a run."""

import pytest

from k8s.placement.disk import disk_notes
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.gpu_nodes import CARDS, whole

GIB = 1 << 30
DISK_TAG = "k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage"


@pytest.mark.parametrize(
    ("platform", "needed", "said"),
    [
        ("karpenter", 33 * GIB, "instanceStorePolicy: RAID0 or blockDeviceMappings in its EC2NodeClass"),
        ("karpenter", 16 * GIB, ""),
        ("eks-auto", 33 * GIB, ""),
        ("eks-auto", 100 * GIB, "ephemeralStorage.size in its NodeClass"),
        ("eks", 16 * GIB, DISK_TAG),
        ("gke", 33 * GIB, ""),
        ("aks", 33 * GIB, ""),
    ],
)
def test_a_platform_whose_new_nodes_have_too_little_disk_by_default_is_told(
    platform: str, needed: int, said: str
) -> None:
    notes = disk_notes(place(Wish.of("t4", platform=platform), None), needed)
    assert bool(notes) == bool(said)
    assert all(said in one and "--scratch" in one and f"{needed >> 30} GiB" in one for one in notes)


@pytest.mark.parametrize("platform", CARDS)
def test_of_a_node_that_is_there_nothing_is_guessed(platform: str) -> None:
    assert disk_notes(place(Wish.of("t4"), [whole(platform, "t4")]), 500 * GIB) == []
