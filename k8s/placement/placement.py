"""Where a pod may run, as the pod asks for it: node selector, node affinity, tolerations, the resource."""

from typing import Any

from pydantic import Field

from job.artifacts import Frozen
from job.predict.gpus import GPUS, Gpu
from k8s.placement.kinds import Kind
from k8s.placement.nodes import Expression, Term, Toleration
from k8s.placement.platforms import PLATFORMS, PlatformName


class Placement(Frozen):
    """The nodes that the pod may run on. `gpus` and `resource` are empty on the CPU."""

    gpus: tuple[str, ...] = ()
    resource: str = ""
    """The resource of which the pod requests one unit."""
    memory: int = 0
    """Bytes of VRAM of the smallest GPU that the pod may get (for a shared card, all of it)."""
    terms: tuple[Term, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    platforms: tuple[PlatformName, ...] = ()
    """The platform of each term, in order."""
    kind: Kind | None = None
    on_spot: bool = False
    label: str | None = None
    """The platform that the user named."""
    seen: dict[str, Gpu] = {}
    """What is known of those of `gpus` that are not in the table."""
    nodes: tuple[str, ...] = ()
    """Suitable nodes that exist now."""
    notes: tuple[str, ...] = Field(default=(), repr=False)
    """Hints for the user, a sentence or two each."""

    @property
    def cards(self) -> list[Gpu]:
        """The cards that the pod may get."""
        return [GPUS.get(name) or self.seen[name] for name in self.gpus]

    def selector(self) -> dict[str, str]:
        """The pod's node selector: of a single term, the labels that have one value.

        Affinity would say the same, but GKE Autopilot takes the accelerator only here (autogke-gpu-limitation, in
        GoogleCloudPlatform/ai-on-gke#983).
        """
        return {one.key: one.values[0] for term in self.terms for one in term if self._selects(one)}

    def affinity(self) -> dict[str, Any]:
        """The rest of the terms as the pod's affinity; empty if it needs none."""
        rest = [[one.manifest() for one in term if not self._selects(one)] for term in self.terms]
        if not any(rest):
            return {}
        terms = [{"matchExpressions": term} for term in rest]
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}

    def _selects(self, one: Expression) -> bool:
        return len(self.terms) == 1 and one.operator == "In" and len(one.values) == 1

    def refused_annotations(self) -> set[str]:
        """Annotations of the Job's pods that one of the platforms does not take."""
        return {name for one in self.platforms for name in PLATFORMS[one].refused_annotations(self.on_spot)}
