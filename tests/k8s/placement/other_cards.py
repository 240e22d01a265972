"""Nodes with cards that no table of this project has, as GPU Feature Discovery labels them."""

from dataclasses import replace
from typing import NamedTuple

from k8s.placement.nodes import Node
from tests.k8s.gpu_nodes import GPU_TAINT, PRODUCT, linux, relabelled


class Labels(NamedTuple):
    """What nvidia-smi says of a card: memory in MiB."""

    product: str
    memory: int
    capability: tuple[int, int]
    family: str


OTHERS = {
    "a6000": Labels("NVIDIA-RTX-A6000", 49140, (8, 6), "ampere"),
    "a40": Labels("NVIDIA-A40", 46068, (8, 6), "ampere"),
    "a30": Labels("NVIDIA-A30", 24576, (8, 0), "ampere"),
    "rtx3090": Labels("NVIDIA-GeForce-RTX-3090", 24576, (8, 6), "ampere"),
    "v100": Labels("Tesla-V100-SXM2-32GB", 32768, (7, 0), "volta"),
}


def other(card: str) -> Node:
    """A node with one whole card."""
    product, memory, (major, minor), family = OTHERS[card]
    labels = {
        PRODUCT: product, "nvidia.com/gpu.memory": str(memory), "nvidia.com/gpu.family": family,
        "nvidia.com/gpu.compute.major": str(major), "nvidia.com/gpu.compute.minor": str(minor),
        "nvidia.com/gpu.replicas": "1",
    }  # fmt: skip
    return linux(f"{card}-other", labels, taints=(GPU_TAINT,), gpus={"nvidia.com/gpu": 1})


def other_shared(card: str, renamed: bool = False) -> Node:
    """A node that shares its card's time, marked as GFD before 0.15 does: in the product alone."""
    resource = "nvidia.com/gpu.shared" if renamed else "nvidia.com/gpu"
    labels = {PRODUCT: OTHERS[card].product + ("" if renamed else "-SHARED"), "nvidia.com/gpu.replicas": "4"}
    return relabelled(other(card), f"{card}-other-shared{'-renamed' if renamed else ''}", {resource: 4}, **labels)


def other_sliced(card: str, profile: str, mixed: bool = False) -> Node:
    """A node whose card is cut into MIG slices."""
    if mixed:
        return relabelled(other(card), f"{card}-other-mixed", {f"nvidia.com/mig-{profile}": 4})
    labels = {PRODUCT: f"{OTHERS[card].product}-MIG-{profile}", "nvidia.com/gpu.slices.gi": "1"}
    node = relabelled(other(card), f"{card}-other-single", {"nvidia.com/gpu": 4}, **labels)
    return replace(node, labels={**node.labels, "nvidia.com/gpu.memory": "5952"})
