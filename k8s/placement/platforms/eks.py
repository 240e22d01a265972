"""Managed node groups of Amazon EKS, without Karpenter."""

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import INSTANCE_TYPE, among
from k8s.placement.nodes import Term
from k8s.placement.platforms.base import Cloud

DISK_TAG = "k8s.io/cluster-autoscaler/node-template/resources/ephemeral-storage"


class Eks(Cloud):
    def card(self, gpu: str) -> Term:
        return among(INSTANCE_TYPE, names_of_card(gpu).eks)

    def spot(self) -> Term:
        return among("eks.amazonaws.com/capacityType", ("SPOT",))

    def disk_note(self, needed: int) -> str:
        """The default of a managed node group is 20 GiB; Cluster Autoscaler takes the disk of a group without nodes
        from a tag, and counts none without it (kubernetes/autoscaler#1869)."""
        return (
            f"a managed node group has 20 GiB by default, and an autoscaler counts no disk at all for a group without "
            f"nodes: set the group's volume size, and its tag {DISK_TAG} (docs/eks.md)"
        )

    def least_on_a_node(self, gpu: str) -> int:
        return min(names_of_card(gpu).eks.values(), default=1)
