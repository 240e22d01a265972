"""Azure Kubernetes Service: node pools, and node auto-provisioning (NAP), which is Karpenter."""

from dataclasses import dataclass

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import among
from k8s.placement.nodes import Term, Toleration
from k8s.placement.platforms.base import Cloud

SPOT = "kubernetes.azure.com/scalesetpriority"


@dataclass(frozen=True)
class Aks(Cloud):
    """`label`: the label of the machine's type. `spot_label`: that of a spot node."""

    label: str
    spot_label: Term

    def card(self, gpu: str) -> Term:
        return among(self.label, names_of_card(gpu).aks)

    def spot(self) -> Term:
        return self.spot_label

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        spot = (Toleration(SPOT, "spot"),) if on_spot else ()
        return (*super().tolerations(on_spot), Toleration("sku", "gpu"), *spot)

    def least_on_a_node(self, gpu: str) -> int:
        return min(names_of_card(gpu).aks.values(), default=1)
