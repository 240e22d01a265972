"""GPU Feature Discovery, on any cluster (the README of gpu-feature-discovery).

The node writes its labels itself, so a pool that is scaled to zero never has them.
"""

from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import GPU, PRODUCT, Kind, among
from k8s.placement.nodes import Expression, Term
from k8s.placement.platforms.base import Labelled, names_of


class Gfd(Labelled):
    def card(self, gpu: str) -> Term:
        return among(PRODUCT, GPU_NAMES[gpu].gfd)

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found = named or self.card(gpu)
        if found and kind.what == "whole":
            return (*found, *self.whole())
        if not found or kind.resource != GPU:
            return found
        return (Expression(PRODUCT, "In", names_of(GPU_NAMES[gpu].gfd, kind)),)
