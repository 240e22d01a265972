"""The interface of a platform, and what most platforms have in common."""

from typing import Protocol

from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import GPU, PRODUCT, WHOLE, Kind
from k8s.placement.nodes import Expression, Term, Toleration

GPU_TAINT = Toleration("nvidia.com/gpu")


class Platform(Protocol):
    """How one platform labels and taints its GPU nodes. A term is empty if there is no requirement."""

    def card(self, gpu: str) -> Term:
        """The label of a card; empty if the platform does not have it."""
        ...

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        """The whole requirement, without spot; empty if the platform does not offer it. `named`: the user's label,
        which replaces the card's."""
        ...

    def whole(self) -> Term:
        """The part of `term` that is the same for each whole card."""
        ...

    def spot(self) -> Term:
        """The label of a spot node."""
        ...

    def refused_annotations(self, on_spot: bool) -> tuple[str, ...]:
        """Annotations of the Job's pods (k8s/manifest/base.py) with which the platform starts no node."""
        ...

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        """Tolerations for the taints that the platform, or its documentation, puts on GPU nodes and on spot nodes."""
        ...

    def least_on_a_node(self, gpu: str) -> int:
        """The number of these GPUs in its smallest machine; 1 if unknown."""
        ...


class Labelled:
    """What most platforms have in common: products are labelled by GPU Feature Discovery or the device plugin."""

    def card(self, gpu: str) -> Term:
        return ()

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found, products = named or self.card(gpu), GPU_NAMES[gpu].gfd
        if not found:
            return ()
        if kind.what == "whole":  # GFD before 0.15 marks a share only in the product's label
            return (*found, Expression(PRODUCT, "NotIn", shared_names(products)), *self.whole())
        return found if kind.resource != GPU else (*found, Expression(PRODUCT, "In", names_of(products, kind)))

    def whole(self) -> Term:
        return WHOLE

    def spot(self) -> Term:
        return ()

    def refused_annotations(self, on_spot: bool) -> tuple[str, ...]:
        return ()

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        return (GPU_TAINT,)

    def least_on_a_node(self, gpu: str) -> int:
        return 1


def shared_names(products: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{one}-SHARED" for one in products)


def names_of(products: tuple[str, ...], kind: Kind) -> tuple[str, ...]:
    """The products' labels if only these mark a share or a slice."""
    return shared_names(products) if kind.what == "shared" else tuple(f"{one}-MIG-{kind.profile}" for one in products)
