"""The kinds of request: a whole card, a share of its time, or a MIG slice."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from k8s.placement.nodes import Expression, Term

GPU, SHARED_GPU, MIG_GPU = "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-"
PRODUCT = "nvidia.com/gpu.product"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"

GKE_WHOLE: Term = (
    Expression("cloud.google.com/gke-gpu-partition-size", "DoesNotExist"),
    Expression("cloud.google.com/gke-gpu-sharing-strategy", "DoesNotExist"),
    Expression("cloud.google.com/gke-max-shared-clients-per-gpu", "DoesNotExist"),
)
WHOLE: Term = (
    *GKE_WHOLE,
    Expression("nvidia.com/gpu.slices.gi", "DoesNotExist"),  # set by GFD only for MIG's single strategy
    Expression("nvidia.com/gpu.sharing-strategy", "NotIn", ("time-slicing", "mps")),
)
"""Excludes nodes that offer shares or slices under the name of a whole card, on any platform."""


class Kind(NamedTuple):
    """The kind of request, and its resource."""

    what: Literal["whole", "shared", "mig"]
    resource: str
    profile: str = ""

    def __str__(self) -> str:
        return {"whole": "", "shared": "shared", "mig": f"MIG {self.profile}"}[self.what]


def kinds(shared: bool, mig: str) -> tuple[Kind, ...]:
    """The ways in which a cluster may offer the request. For shares and slices the device plugin has two each: the
    resource is renamed (`renameByDefault`, MIG mixed), or only the product's label is (MIG single)."""
    if mig:
        return Kind("mig", f"{MIG_GPU}{mig}", mig), Kind("mig", GPU, mig)
    if shared:
        return Kind("shared", SHARED_GPU), Kind("shared", GPU)
    return (Kind("whole", GPU),)


def among(key: str, values: Iterable[str]) -> Term:
    """The requirement that a label has one of these values; none if there are none."""
    found = tuple(values)
    return (Expression(key, "In", found),) if found else ()
