"""The pod that the launcher would have made."""

from typing import Any

from k8s.manifest.render import render
from k8s.manifest.settings import GIB, Resources
from k8s.placement.nodes import Node
from k8s.placement.place import place
from k8s.placement.wish import Wish
from tests.k8s.job_settings import pod_of, settings, spec

TWINS = {"shared": "shared-renamed", "shared-renamed": "shared", "single": "mixed", "mixed": "single"}
"""Two ways in which a device plugin offers the same; the launcher takes the one that is there."""


def pod_for(wish: Wish, right: Node, others: list[Node]) -> dict[str, Any]:
    """The pod that the launcher would have made in a cluster that has this node and not its twin."""
    twins = TWINS.get(right.name.removeprefix(f"{wish.gpus[0]}-"), "")
    there = [one for one in others if one.name != f"{wish.gpus[0]}-{twins}"]
    placement = place(wish, there)
    small = Resources(cpu=0.1, memory=GIB, disk=GIB)
    pod = pod_of(render(settings(placement=placement, resources=small), spec()))
    pod["volumes"] = [one for one in pod["volumes"] if "persistentVolumeClaim" not in one]
    return {"metadata": {"name": right.name}, "spec": pod}
