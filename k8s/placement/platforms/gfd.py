"""GPU Feature Discovery, on any cluster (the README of gpu-feature-discovery).

The node writes its labels itself, so a pool that is scaled to zero never has them.
"""

from math import ceil

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import GPU, PRODUCT, Kind, among
from k8s.placement.nodes import MEMORY, Expression, Term
from k8s.placement.platforms.base import Labelled, names_of

TOO_OLD = Expression("nvidia.com/gpu.family", "NotIn", ("kepler", "maxwell", "pascal", "volta"))
"""Cards that CUDA 13 does not support, which the image has (CUDA Toolkit 13.0 release notes)."""
SHARING = Expression("nvidia.com/gpu.sharing-strategy", "In", ("time-slicing", "mps"))


class Gfd(Labelled):
    def card(self, gpu: str) -> Term:
        names = names_of_card(gpu)
        if names.least:
            return (Expression(MEMORY, "Gt", (str(ceil(names.least / 2**20) - 1),)), TOO_OLD)
        return among(PRODUCT, names.gfd)

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found = named or self.card(gpu)
        if found and kind.what == "whole":
            return (*found, *self.whole())
        if not found or kind.resource != GPU:
            return found
        if products := names_of_card(gpu).gfd:
            return (Expression(PRODUCT, "In", names_of(products, kind)),)
        return (*found, SHARING)
