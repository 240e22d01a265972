"""The GPUs that a cluster's nodes offer now, for messages and for `gpus`."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import CUT, GPU, MIG_GPU, PRODUCT, SHARED_GPU, Kind, old_driver, too_old, uncut
from k8s.placement.nodes import GPU_RESOURCES, MACHINE, Node
from k8s.placement.platforms import PLATFORMS, PlatformName

_SAID = (
    PRODUCT,
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "karpenter.azure.com/sku-gpu-name",
    "node.kubernetes.io/instance-type",
)


class Offer(NamedTuple):
    """Nodes that offer the same. `gpu` is a name of job/predict/gpus.py, else a label's value; `units` of
    `kind.resource`, `free` of them not held by pods; `blocked`: the reason why no run can use them, if there is one."""

    gpu: str
    kind: Kind
    spot: bool
    blocked: str
    nodes: int
    units: int
    free: int

    def __str__(self) -> str:
        what = " ".join(part for part in (self.gpu, str(self.kind), "on spot nodes" if self.spot else "") if part)
        return f"{self.units} x {what}{f' ({self.blocked})' if self.blocked else ''}"


def offers(nodes: Iterable[Node]) -> tuple[Offer, ...]:
    """Nodes grouped by their offer, in the order of their first node."""
    found: dict[tuple[str, Kind, bool, str], list[Node]] = {}
    for node in nodes:
        for resource in sorted(node.gpus):
            if node.gpus[resource] > 0 and is_gpu(resource):
                key = gpu_of(node), kind_of(node, resource), is_spot(node), _blocked(node)
                found.setdefault(key, []).append(node)
    return tuple(
        Offer(*key, len(those), _sum(those, key[1].resource), sum(node.free(key[1].resource) for node in those))
        for key, those in found.items()
    )


def _blocked(node: Node) -> str:
    if not node.ready:
        return "not ready"
    if old := old_driver(node):
        return f"driver {old}"
    if old := too_old(node):
        return f"compute capability {old}"
    if node.dra_only:
        return "served by DRA only"
    return "" if node.runs_the_image else f"not {'/'.join(reversed(MACHINE.values()))}"


def _sum(nodes: Iterable[Node], resource: str) -> int:
    return sum(node.gpus[resource] for node in nodes)


def said(nodes: Iterable[Node]) -> str:
    """The offers in one line."""
    return ", ".join(map(str, offers(nodes))) or "no GPU at all"


def is_gpu(resource: str) -> bool:
    return resource in (GPU, SHARED_GPU) or resource.startswith(MIG_GPU)


def is_spot(node: Node) -> bool:
    return any(node.satisfies([spot]) for one in PLATFORMS.values() if (spot := one.spot()))


def is_share(node: Node) -> bool:
    """Whether its product's label marks it as shared."""
    return node.labels.get(PRODUCT, "").endswith("-SHARED")


def gpu_of(node: Node) -> str:
    """The name in job/predict/gpus.py, else the value of the first label that names a card."""
    labels = dict(node.labels)
    if PRODUCT in labels:
        labels[PRODUCT] = uncut(labels[PRODUCT])
    for gpu in GPU_NAMES:
        if any(_is(gpu, platform, labels) for platform in PLATFORMS):
            return gpu
    return next((labels[key] for key in _SAID if key in labels), "unnamed GPU")


def _is(gpu: str, platform: PlatformName, labels: Mapping[str, str]) -> bool:
    wanted = PLATFORMS[platform].card(gpu)
    return bool(wanted) and all(one.matches(labels) for one in wanted)


def kind_of(node: Node, resource: str) -> Kind:
    """Whether one unit of a resource of this node is a whole card."""
    if resource.startswith(MIG_GPU):
        return Kind("mig", resource, resource.removeprefix(MIG_GPU))
    labels = node.labels
    product = CUT.search(labels.get(PRODUCT, ""))
    assert product
    if profile := labels.get("cloud.google.com/gke-gpu-partition-size") or product["profile"]:
        return Kind("mig", resource, profile)
    strategies = ("cloud.google.com/gke-gpu-sharing-strategy", f"{GPU_RESOURCES}gpu.sharing-strategy")
    is_shared = any(labels.get(key, "none") != "none" for key in strategies)
    if resource == SHARED_GPU or product["shared"] or is_shared:
        return Kind("shared", resource)
    return Kind("whole", resource)
