"""Managed node groups of Amazon EKS, without Karpenter."""

from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import INSTANCE_TYPE, among
from k8s.placement.nodes import Term
from k8s.placement.platforms.base import Cloud


class Eks(Cloud):
    def card(self, gpu: str) -> Term:
        return among(INSTANCE_TYPE, GPU_NAMES[gpu].eks)

    def spot(self) -> Term:
        return among("eks.amazonaws.com/capacityType", ("SPOT",))

    def least_on_a_node(self, gpu: str) -> int:
        return min(GPU_NAMES[gpu].eks.values(), default=1)
