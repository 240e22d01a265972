"""Where the scheduler would put a pod, by its own rules."""

from k8s.placement.nodes import Node
from k8s.placement.placement import Placement


def lands_on(found: Placement, nodes: list[Node]) -> set[str]:
    """The nodes that the scheduler would take: its own rules, applied to what the pod would ask for."""
    return {
        node.name
        for node in nodes
        if node.satisfies(found.terms) and node.gpus.get(found.resource) and not node.barriers(found.tolerations)
    }
