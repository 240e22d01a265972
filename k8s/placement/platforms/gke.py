"""Google Kubernetes Engine (https://cloud.google.com/kubernetes-engine/docs/how-to/gpus).

Terms have only labels of GKE: Autopilot refuses other keys in node affinity (autogke-node-affinity-selector-limitation;
the list of its message is in rancher/dashboard#10564), and its node auto-provisioning knows no others.
"""

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import GKE_WHOLE, GPU, Kind, among
from k8s.placement.nodes import Expression, Term, Toleration
from k8s.placement.platforms.base import Cloud

SPOT = "cloud.google.com/gke-spot"
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"


class Gke(Cloud):
    def card(self, gpu: str) -> Term:
        return among("cloud.google.com/gke-accelerator", names_of_card(gpu).gke)

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found = named or self.card(gpu)
        if not found or kind.resource != GPU:
            return ()
        if kind.what == "whole":
            return (*found, *self.whole())
        if kind.what == "mig":
            return (*found, Expression("cloud.google.com/gke-gpu-partition-size", "In", (kind.profile,)))
        return (*found, Expression("cloud.google.com/gke-gpu-sharing-strategy", "Exists"))

    def whole(self) -> Term:
        return GKE_WHOLE

    def driver(self) -> Term:
        return ()

    def spot(self) -> Term:
        return among(SPOT, ("true",))

    def refused_annotations(self, on_spot: bool) -> tuple[str, ...]:
        """Autopilot adds no Spot node for a pod that must not be evicted (buildkite/agent-stack-k8s#855)."""
        return (SAFE_TO_EVICT,) if on_spot else ()

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        return (*super().tolerations(on_spot), *((Toleration(SPOT, "true"),) if on_spot else ()))

    def least_on_a_node(self, gpu: str) -> int:
        return names_of_card(gpu).gke_least
