"""Google Kubernetes Engine (https://cloud.google.com/kubernetes-engine/docs/how-to/gpus)."""

from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import GPU, Kind, among
from k8s.placement.nodes import Expression, Term, Toleration
from k8s.placement.platforms.base import Labelled

SPOT = "cloud.google.com/gke-spot"


class Gke(Labelled):
    def card(self, gpu: str) -> Term:
        return among("cloud.google.com/gke-accelerator", GPU_NAMES[gpu].gke)

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found = named or self.card(gpu)
        if kind.what == "whole" or not found:
            return super().term(gpu, kind, named)
        if kind.resource != GPU:
            return ()
        if kind.what == "mig":
            return (*found, Expression("cloud.google.com/gke-gpu-partition-size", "In", (kind.profile,)))
        return (*found, Expression("cloud.google.com/gke-gpu-sharing-strategy", "Exists"))

    def spot(self) -> Term:
        return among(SPOT, ("true",))

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        return (*super().tolerations(on_spot), *((Toleration(SPOT, "true"),) if on_spot else ()))

    def least_on_a_node(self, gpu: str) -> int:
        return GPU_NAMES[gpu].gke_least
