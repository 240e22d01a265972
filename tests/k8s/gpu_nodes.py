"""Nodes as each platform labels and taints them, written out from the platforms' documentation, not from the table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from k8s.placement.nodes import Node, Taint

GPU_TAINT = Taint("nvidia.com/gpu", "present", "NoSchedule")
PRODUCT = "nvidia.com/gpu.product"

_EKS = {
    "t4": ("g4dn.xlarge", "t4", "16384"),
    "l4": ("g6.2xlarge", "l4", "22888"),
    "a10g": ("g5.xlarge", "a10g", "24576"),
    "l40s": ("g6e.xlarge", "l40s", "45776"),
    "a100-40": ("p4d.24xlarge", "a100", "40960"),
    "a100-80": ("p4de.24xlarge", "a100", "81920"),
    "h100": ("p5.48xlarge", "h100", "81920"),
    "h200": ("p5en.48xlarge", "h200", "144384"),
    "b200": ("p6-b200.48xlarge", "b200", "183359"),
}
_AKS = {
    "t4": ("Standard_NC4as_T4_v3", "T4"),
    "a10": ("Standard_NV36ads_A10_v5", "A10"),
    "a100-40": ("Standard_ND96asr_v4", "A100"),
    "a100-80": ("Standard_NC24ads_A100_v4", "A100"),
    "h100": ("Standard_NC40ads_H100_v5", "H100"),
    "h200": ("Standard_ND96isr_H200_v5", "H200"),
}
_GKE = {
    "t4": "nvidia-tesla-t4",
    "l4": "nvidia-l4",
    "a100-40": "nvidia-tesla-a100",
    "a100-80": "nvidia-a100-80gb",
    "h100": "nvidia-h100-80gb",
    "h200": "nvidia-h200-141gb",
    "b200": "nvidia-b200",
}
PRODUCTS = {
    "t4": "Tesla-T4",
    "l4": "NVIDIA-L4",
    "a10": "NVIDIA-A10",
    "a10g": "NVIDIA-A10G",
    "l40s": "NVIDIA-L40S",
    "a100-40": "NVIDIA-A100-SXM4-40GB",
    "a100-80": "NVIDIA-A100-SXM4-80GB",
    "h100": "NVIDIA-H100-80GB-HBM3",
    "h200": "NVIDIA-H200",
    "b200": "NVIDIA-B200",
    "rtx4090": "NVIDIA-GeForce-RTX-4090",
    "rtx5090": "NVIDIA-GeForce-RTX-5090",
}
CARDS: dict[str, tuple[str, ...]] = {
    "gke": tuple(_GKE),
    "eks": tuple(_EKS),
    "karpenter": tuple(_EKS),
    "eks-auto": tuple(_EKS),
    "aks": tuple(_AKS),
    "aks-nap": tuple(_AKS),
    "gfd": tuple(PRODUCTS),
}
PROFILES = {"a100-40": "1g.5gb", "a100-80": "1g.10gb", "h100": "1g.10gb", "h200": "1g.18gb", "b200": "1g.23gb"}
"""The smallest MIG profile of each card that has any (MIG user guide)."""


def linux(name: str, labels: Mapping[str, str] = {}, **more: Any) -> Node:
    """A node with the labels that every kubelet writes."""
    return Node(name, {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", **labels}, **more)


def _labels(platform: str, gpu: str) -> dict[str, str]:
    if platform == "gke":
        return {"cloud.google.com/gke-accelerator": _GKE[gpu], "cloud.google.com/gke-nodepool": "gpu"}
    if platform in ("aks", "aks-nap"):
        machine, name = _AKS[gpu]
        found = {"node.kubernetes.io/instance-type": machine, "kubernetes.azure.com/accelerator": "nvidia"}
        nap = {"karpenter.azure.com/sku-name": machine, "karpenter.azure.com/sku-gpu-name": name}
        return found | (nap if platform == "aks-nap" else {})
    if platform == "gfd":
        return {PRODUCT: PRODUCTS[gpu], "nvidia.com/gpu.replicas": "1", "nvidia.com/gpu.sharing-strategy": "none"}
    machine, name, memory = _EKS[gpu]
    found = {"node.kubernetes.io/instance-type": machine}
    domain = {"karpenter": "karpenter.k8s.aws", "eks-auto": "eks.amazonaws.com"}.get(platform)
    if domain is None:
        return found | {"eks.amazonaws.com/nodegroup": "gpu"}
    own = {"instance-gpu-name": name, "instance-gpu-memory": memory, "instance-family": machine.split(".")[0]}
    return found | {f"{domain}/{key}": value for key, value in own.items()}


def whole(platform: str, gpu: str, name: str = "", **extra: str) -> Node:
    """A node with one whole card. `gfd` nodes are in no cloud."""
    cloud = {"gke": "gce", "aks": "azure", "aks-nap": "azure", "gfd": ""}.get(platform, "aws")
    taint = Taint("sku", "gpu", "NoSchedule") if cloud == "azure" else GPU_TAINT
    labels = _labels(platform, gpu) | extra
    place = f"{cloud}://somewhere/{gpu}" if cloud else ""
    gpus = {"nvidia.com/gpu": 1}
    return linux(name or f"{gpu}-whole", labels, taints=(taint,), gpus=gpus, provider_id=place)


def relabelled(node: Node, name: str, gpus: Mapping[str, int], **labels: str) -> Node:
    return replace(node, name=name, gpus=gpus, labels={**node.labels, **labels})


def shared(platform: str, gpu: str, renamed: bool = False) -> Node:
    """A node that shares its card's time among four pods; `renamed`: the device plugin's renameByDefault."""
    node = whole(platform, gpu)
    if platform == "gke":
        labels = {
            "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
            "cloud.google.com/gke-max-shared-clients-per-gpu": "4",
        }
        return relabelled(node, f"{gpu}-shared", {"nvidia.com/gpu": 4}, **labels)
    product = PRODUCTS[gpu] + ("" if renamed else "-SHARED")
    labels = {PRODUCT: product, "nvidia.com/gpu.sharing-strategy": "time-slicing", "nvidia.com/gpu.replicas": "4"}
    resource = "nvidia.com/gpu.shared" if renamed else "nvidia.com/gpu"
    return relabelled(node, f"{gpu}-shared{'-renamed' if renamed else ''}", {resource: 4}, **labels)


def sliced(platform: str, gpu: str, profile: str, mixed: bool = False) -> Node:
    """A node whose card is cut into MIG slices of one profile, under the single or the mixed strategy."""
    node = whole(platform, gpu)
    if platform == "gke":
        return relabelled(
            node, f"{gpu}-single", {"nvidia.com/gpu": 7}, **{"cloud.google.com/gke-gpu-partition-size": profile}
        )
    if mixed:
        labels = {"nvidia.com/mig.strategy": "mixed", PRODUCT: PRODUCTS[gpu], f"nvidia.com/mig-{profile}.count": "7"}
        return relabelled(node, f"{gpu}-mixed", {f"nvidia.com/mig-{profile}": 7}, **labels)
    labels = {"nvidia.com/mig.strategy": "single", PRODUCT: f"{PRODUCTS[gpu]}-MIG-{profile}"}
    labels |= {"nvidia.com/gpu.slices.gi": "1", "nvidia.com/gpu.slices.ci": "1"}
    return relabelled(node, f"{gpu}-single", {"nvidia.com/gpu": 7}, **labels)


def crowd(platform: str) -> list[Node]:
    """Every card of a platform, whole, shared and sliced: whatever is asked for, its wrong neighbours are there."""
    nodes = [linux("no-gpu", provider_id=whole(platform, CARDS[platform][0]).provider_id)]
    for gpu in CARDS[platform]:
        nodes += [whole(platform, gpu), shared(platform, gpu)]
        if platform != "gke":
            nodes.append(shared(platform, gpu, renamed=True))
        if gpu in PROFILES:
            nodes.append(sliced(platform, gpu, PROFILES[gpu]))
            if platform != "gke":
                nodes.append(sliced(platform, gpu, PROFILES[gpu], mixed=True))
    return nodes
