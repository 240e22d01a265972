"""The kinds of request: a whole card, a share of its time, or a MIG slice."""

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from job.gpu_faults import DRIVER
from job.predict.gpus import OLDEST
from k8s.placement.nodes import Expression, Node, Term

GPU, SHARED_GPU, MIG_GPU = "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-"
PRODUCT = "nvidia.com/gpu.product"
MAJOR, MINOR = "nvidia.com/gpu.compute.major", "nvidia.com/gpu.compute.minor"
"""Of the compute capability."""
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


DRIVER_LABELS = ("nvidia.com/cuda.driver.major", "nvidia.com/cuda.driver-version.major")
"""GFD's, the old one and the one that replaces it; it writes both."""
_BRANCHES = "418 440 450 455 460 465 470 495 510 515 520 525 530 535 545 550 555 560 565 570 575 580 590 595 610 620"
_OLD_DRIVERS = tuple(one for one in _BRANCHES.split() if int(one) < DRIVER)
"""NVIDIA's branches before the one that the image needs. (The operator Gt would refuse nodes without the label.)"""
NEW_ENOUGH: Term = tuple(Expression(label, "NotIn", _OLD_DRIVERS) for label in DRIVER_LABELS)


CUT = re.compile(r"(-MIG-(?P<profile>[\w.]+?))?(?P<shared>-SHARED)?$")
"""The end of a product's label if the node offers slices or shares of it."""


def uncut(product: str) -> str:
    """The product of a label, without what marks a slice or a share."""
    return CUT.sub("", product)


class Kind(NamedTuple):
    """The kind of request, and its resource."""

    what: Literal["whole", "shared", "mig"]
    resource: str
    profile: str = ""

    def __str__(self) -> str:
        return {"whole": "", "shared": "shared", "mig": f"MIG {self.profile}"}[self.what]


def old_driver(node: Node) -> str:
    """The major version of a node's driver, if a label says that it is too old for the image."""
    return next((major for label in DRIVER_LABELS if (major := node.labels.get(label, "")) in _OLD_DRIVERS), "")


def too_old(node: Node) -> str:
    """The compute capability of a node's card, if its labels say that it is less than the image's CUDA needs."""
    major, minor = node.labels.get(MAJOR, ""), node.labels.get(MINOR, "")
    known = major.isdecimal() and minor.isdecimal()
    return f"{major}.{minor}" if known and (int(major), int(minor)) < OLDEST else ""


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
