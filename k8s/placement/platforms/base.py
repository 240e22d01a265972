"""The interface of a platform, and what most platforms have in common."""

from typing import Protocol

from k8s.placement.gpu_names import names_of_card
from k8s.placement.kinds import GPU, NEW_ENOUGH, PRODUCT, WHOLE, Kind
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

    def driver(self) -> Term:
        """Leaves out nodes whose label says that their driver is too old for the image."""
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

    def disk_note(self, needed: int) -> str:
        """What to set so that a node that is started has `needed` bytes of disk for pods; empty if it has them by
        default, or if that is unknown."""
        ...

    def least_on_a_node(self, gpu: str) -> int:
        """The number of these GPUs in its smallest machine; 1 if unknown."""
        ...


NODE_LOST_S = 60
"""Seconds that a pod stays bound to an unreachable node of a cloud: its machine is gone, or replaced. On-premises it
comes back more often than not, and Kubernetes' own 300 seconds are kept."""


class Labelled:
    """What most platforms have in common: products are labelled by GPU Feature Discovery or the device plugin."""

    def card(self, gpu: str) -> Term:
        return ()

    def term(self, gpu: str, kind: Kind, named: Term = ()) -> Term:
        found, products = named or self.card(gpu), names_of_card(gpu).gfd
        if not found:
            return ()
        if kind.what == "whole":  # GFD before 0.15 marks a share only in the product's label
            return (*found, Expression(PRODUCT, "NotIn", shared_names(products)), *self.whole())
        return found if kind.resource != GPU else (*found, Expression(PRODUCT, "In", names_of(products, kind)))

    def whole(self) -> Term:
        return WHOLE

    def driver(self) -> Term:
        return NEW_ENOUGH

    def spot(self) -> Term:
        return ()

    def refused_annotations(self, on_spot: bool) -> tuple[str, ...]:
        return ()

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        return (GPU_TAINT,)

    def disk_note(self, needed: int) -> str:
        return ""

    def least_on_a_node(self, gpu: str) -> int:
        return 1


class Cloud(Labelled):
    """What the clouds have in common besides."""

    def tolerations(self, on_spot: bool) -> tuple[Toleration, ...]:
        lost = (f"node.kubernetes.io/{state}" for state in ("not-ready", "unreachable"))
        return (*super().tolerations(on_spot), *(Toleration(key, None, "NoExecute", NODE_LOST_S) for key in lost))


def shared_names(products: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{one}-SHARED" for one in products)


def names_of(products: tuple[str, ...], kind: Kind) -> tuple[str, ...]:
    """The products' labels if only these mark a share or a slice."""
    return shared_names(products) if kind.what == "shared" else tuple(f"{one}-MIG-{kind.profile}" for one in products)
