"""Karpenter on AWS, and EKS Auto Mode, which is Karpenter with other labels (the READMEs of Karpenter's providers)."""

from dataclasses import dataclass

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import among
from k8s.placement.nodes import Expression, Term
from k8s.placement.platforms.base import Cloud

SPOT = among("karpenter.sh/capacity-type", ("spot",))


@dataclass(frozen=True)
class Karpenter(Cloud):
    """`domain`: the domain of its labels. `disk`: bytes of a node's volume by default, which `set_in` says where to
    change."""

    domain: str
    disk: int
    set_in: str

    def card(self, gpu: str) -> Term:
        names = names_of_card(gpu)
        if not names.aws:
            return ()
        found = among(f"{self.domain}/instance-gpu-name", (names.aws,))
        if names.aws_memory:
            found += among(f"{self.domain}/instance-gpu-memory", (str(names.aws_memory),))
        if gpu == "l4":
            found += (Expression(f"{self.domain}/instance-family", "NotIn", ("g6f", "gr6f")),)
        return found

    def spot(self) -> Term:
        return SPOT

    def disk_note(self, needed: int) -> str:
        if needed <= self.disk:
            return ""
        return f"its nodes have {self.disk >> 30} GiB by default: set {self.set_in} (docs/eks.md)"

    def least_on_a_node(self, gpu: str) -> int:
        return min(names_of_card(gpu).eks.values(), default=1)
