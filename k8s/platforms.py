"""How each platform labels and taints its GPU nodes, as requirements that a pod can make.

A term is what one platform asks: the card by its names, what makes it a whole card (or a share, or a slice), and spot.
Terms of several platforms are alternatives. The labels of clouds are known to their autoscalers; those of GPU Feature
Discovery (GFD) are written by the node itself, so a pool that is scaled to zero never has them, and Karpenter starts
no node for them.

Sources: the platforms' documentation, the READMEs of Karpenter's providers and of gpu-feature-discovery.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from k8s.gpu_names import GPU_NAMES
from k8s.nodes import Expression, Term, Toleration

Platform = Literal["gke", "karpenter", "eks-auto", "eks", "aks-nap", "aks", "gfd", "custom"]
PROVIDERS: dict[str, tuple[Platform, ...]] = {
    "gce": ("gke",),
    "aws": ("karpenter", "eks-auto", "eks"),
    "azure": ("aks-nap", "aks"),
}
"""The platforms behind each scheme of node.spec.providerID. Karpenter reads only the first alternative, then drops it:
its own labels come first."""

GPU, SHARED_GPU, MIG_GPU = "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-"
PRODUCT = "nvidia.com/gpu.product"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

WHOLE: Term = (
    Expression("cloud.google.com/gke-gpu-partition-size", "DoesNotExist"),
    Expression("cloud.google.com/gke-gpu-sharing-strategy", "DoesNotExist"),
    Expression("cloud.google.com/gke-max-shared-clients-per-gpu", "DoesNotExist"),
    Expression("nvidia.com/gpu.slices.gi", "DoesNotExist"),  # set by GFD for MIG's single strategy alone
    Expression("nvidia.com/gpu.sharing-strategy", "NotIn", ("time-slicing", "mps")),
)
"""Shuts out nodes that offer shares or slices under the name of a whole card, wherever they are."""


class Kind(NamedTuple):
    """What is asked for of a card: all of it, a share of its time, or a MIG slice; and the resource that it is."""

    what: Literal["whole", "shared", "mig"]
    resource: str
    profile: str = ""

    def __str__(self) -> str:
        return {"whole": "", "shared": "shared", "mig": f"MIG {self.profile}"}[self.what]


def kinds(shared: bool, mig: str) -> tuple[Kind, ...]:
    """The ways in which a cluster may offer what is asked. For shares and slices the device plugin has two each:
    the resource is renamed (`renameByDefault`, MIG mixed), or only the product's label is (MIG single)."""
    if mig:
        return Kind("mig", f"{MIG_GPU}{mig}", mig), Kind("mig", GPU, mig)
    if shared:
        return Kind("shared", SHARED_GPU), Kind("shared", GPU)
    return (Kind("whole", GPU),)


def card(platform: Platform, gpu: str) -> Term:
    """The requirements that name a card; none where the platform does not have it."""
    names = GPU_NAMES[gpu]
    if platform == "gke":
        return _among("cloud.google.com/gke-accelerator", names.gke)
    if platform in ("karpenter", "eks-auto") and names.aws:
        domain = "karpenter.k8s.aws" if platform == "karpenter" else "eks.amazonaws.com"
        found = _among(f"{domain}/instance-gpu-name", (names.aws,))
        if names.aws_memory:
            found += _among(f"{domain}/instance-gpu-memory", (str(names.aws_memory),))
        if gpu == "l4":
            found += (Expression(f"{domain}/instance-family", "NotIn", ("g6f", "gr6f")),)
        return found
    if platform == "eks":
        return _among(INSTANCE_TYPE, names.eks)
    if platform == "aks-nap":
        return _among("karpenter.azure.com/sku-name", names.aks)
    if platform == "aks":
        return _among(INSTANCE_TYPE, names.aks)
    return _among(PRODUCT, names.gfd) if platform == "gfd" else ()


def term(platform: Platform, gpu: str, kind: Kind, named: Term = ()) -> Term:
    """The whole requirement on one platform, without spot; none where it does not have the card.

    `named` is the label that a user names, for the platform `custom`.
    """
    found = named or card(platform, gpu)
    if not found:
        return ()
    products = GPU_NAMES[gpu].gfd
    shared = tuple(f"{one}-SHARED" for one in products)
    if kind.what == "whole":
        old = () if platform == "gfd" else (Expression(PRODUCT, "NotIn", shared),)  # GFD before 0.15 says it only so
        return found + old + WHOLE
    if platform == "gke":
        if kind.resource != GPU:
            return ()
        label = Expression("cloud.google.com/gke-gpu-sharing-strategy", "Exists")
        if kind.what == "mig":
            label = Expression("cloud.google.com/gke-gpu-partition-size", "In", (kind.profile,))
        return (*found, label)
    if kind.resource != GPU:
        return found
    wanted = shared if kind.what == "shared" else tuple(f"{one}-MIG-{kind.profile}" for one in products)
    label = Expression(PRODUCT, "In", wanted)
    return (label,) if platform == "gfd" else (*found, label)


def spot(platform: Platform) -> Term:
    """What a spot node is labelled with; none where there is no such thing."""
    if platform == "gke":
        return _among("cloud.google.com/gke-spot", ("true",))
    if platform in ("karpenter", "eks-auto", "aks-nap"):
        return _among("karpenter.sh/capacity-type", ("spot",))
    if platform == "eks":
        return _among("eks.amazonaws.com/capacityType", ("SPOT",))
    return _among("kubernetes.azure.com/scalesetpriority", ("spot",)) if platform == "aks" else ()


def tolerations(platform: Platform, on_spot: bool) -> tuple[Toleration, ...]:
    """For the taints that the platform, or its documentation, puts on GPU nodes and on spot nodes."""
    found = [Toleration("nvidia.com/gpu")]
    if platform in ("aks", "aks-nap"):
        found.append(Toleration("sku", "gpu"))
    if on_spot and platform == "gke":
        found.append(Toleration("cloud.google.com/gke-spot", "true"))
    if on_spot and platform in ("aks", "aks-nap"):
        found.append(Toleration("kubernetes.azure.com/scalesetpriority", "spot"))
    return tuple(found)


def least_on_a_node(platform: Platform, gpu: str) -> int:
    """How many of these GPUs the smallest machine of a platform has; 1 where nobody knows."""
    names = GPU_NAMES[gpu]
    if platform == "gke":
        return names.gke_least
    types = {"karpenter": names.eks, "eks-auto": names.eks, "eks": names.eks, "aks": names.aks, "aks-nap": names.aks}
    return min(types.get(platform, {}).values(), default=1)


def _among(key: str, values: Iterable[str]) -> Term:
    found = tuple(values)
    return (Expression(key, "In", found),) if found else ()
