"""How each platform labels and taints its GPU nodes, as requirements that a pod can make: a module for each.

A term is one platform's requirement: the card by its names, what marks a whole card (or a share, or a slice), and spot.
Terms of several platforms are alternatives. The autoscalers know their cloud's labels; those of GPU Feature
Discovery (GFD) are written by the node itself, so a pool that is scaled to zero never has them, and Karpenter starts
no node for them.
"""

from typing import Literal

from k8s.placement.kinds import among
from k8s.placement.platforms.aks import SPOT, Aks
from k8s.placement.platforms.base import Labelled, Platform
from k8s.placement.platforms.eks import Eks
from k8s.placement.platforms.gfd import Gfd
from k8s.placement.platforms.gke import Gke
from k8s.placement.platforms.karpenter import SPOT as KARPENTER_SPOT
from k8s.placement.platforms.karpenter import Karpenter

__all__ = ["PLATFORMS", "PROVIDERS", "Platform", "PlatformName"]

PlatformName = Literal["gke", "karpenter", "eks-auto", "eks", "aks-nap", "aks", "gfd", "custom"]
PLATFORMS: dict[PlatformName, Platform] = {
    "gke": Gke(),
    "karpenter": Karpenter(
        "karpenter.k8s.aws", 20 << 30, "instanceStorePolicy: RAID0 or blockDeviceMappings in its EC2NodeClass"
    ),
    "eks-auto": Karpenter("eks.amazonaws.com", 80 << 30, "ephemeralStorage.size in its NodeClass"),
    "eks": Eks(),
    "aks-nap": Aks("karpenter.azure.com/sku-name", KARPENTER_SPOT),
    "aks": Aks("node.kubernetes.io/instance-type", among(SPOT, ("spot",))),
    "gfd": Gfd(),
    "custom": Labelled(),
}
"""The platforms by name. `custom`: the label that a user names."""

PROVIDERS: dict[str, tuple[PlatformName, ...]] = {
    "gce": ("gke",),
    "aws": ("karpenter", "eks-auto", "eks"),
    "azure": ("aks-nap", "aks"),
}
"""The platforms behind each scheme of node.spec.providerID. Karpenter reads only the first alternative, then drops it:
its own labels come first."""
