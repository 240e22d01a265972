"""A cluster's nodes as plain data, and the scheduler's rules for them.

Only data that the scheduler uses is included: labels, taints, allocatable resources
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NamedTuple

GPU_RESOURCES = "nvidia.com/"
MEMORY = "nvidia.com/gpu.memory"
"""A card's memory in MiB, as GPU Feature Discovery labels it."""
_SUFFIXES = {"": Decimal(1), "m": Decimal("0.001")}
_SUFFIXES |= {letter: Decimal(1000) ** n for n, letter in enumerate(("k", "M", "G", "T", "P", "E"), 1)}
_SUFFIXES |= {f"{letter}i": Decimal(1024) ** n for n, letter in enumerate(("K", "M", "G", "T", "P", "E"), 1)}


class Expression(NamedTuple):
    """One requirement on a node's labels (core/v1 NodeSelectorRequirement)."""

    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt"]
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Like the scheduler: NotIn is also true if the label is missing, Gt false if it is not an integer."""
        value = labels.get(self.key)
        if self.operator == "Gt":
            return value is not None and value.isdecimal() and int(value) > int(self.values[0])
        if self.operator in ("Exists", "DoesNotExist"):
            return (value is not None) == (self.operator == "Exists")
        return (value in self.values) == (self.operator == "In")

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": self.key, "operator": self.operator}
        return found | ({"values": list(self.values)} if self.values else {})


Term = tuple[Expression, ...]
"""Requirements that must all hold; several terms are alternatives."""

MACHINE = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
"""Labels of the nodes that the image is built for. Every kubelet writes both; a GB200 or GH200 node is arm64."""


class Taint(NamedTuple):
    """Keeps pods away unless they tolerate it."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}{'=' + self.value if self.value else ''}:{self.effect}"


class Toleration(NamedTuple):
    """Lets a pod onto nodes with a taint; without an effect, any effect. `seconds`: how long it stays on a node that
    gets the taint (NoExecute)."""

    key: str
    value: str | None = None
    effect: str | None = "NoSchedule"
    seconds: int | None = None

    def covers(self, taint: Taint) -> bool:
        same = self.key == taint.key and self.value in (None, taint.value)
        return same and self.effect in (None, taint.effect)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = {"key": self.key, "operator": "Exists" if self.value is None else "Equal"}
        found |= {} if self.value is None else {"value": self.value}
        found |= {"effect": self.effect} if self.effect else {}
        return found | ({} if self.seconds is None else {"tolerationSeconds": self.seconds})


@dataclass(frozen=True)
class Node:
    """A node. `gpus`: allocatable units by resource name; `used`: of these, the units that running pods hold.

    `memory` and `disk` (ephemeral storage) in bytes and `cpu` in cores are the totals for pods; `free_memory`: bytes
    that no running pod requests, 0 if not known.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    gpus: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    provider_id: str = ""
    ready: bool = True
    cpu: float = 0
    memory: int = 0
    free_memory: int = 0
    disk: int = 0
    dra_only: bool = False
    """Its GPUs are served by DRA, and no DeviceClass stands for the request of the Job (k8s/placement/dra.py)."""

    def satisfies(self, terms: Iterable[Term]) -> bool:
        """Whether one of the alternatives holds here."""
        return any(all(one.matches(self.labels) for one in term) for term in terms)

    @property
    def runs_the_image(self) -> bool:
        return all(self.labels.get(key) == value for key, value in MACHINE.items())

    def barriers(self, tolerations: Iterable[Toleration]) -> list[Taint]:
        """The taints that would keep a pod with these tolerations off."""
        known = tuple(tolerations)
        hard = (taint for taint in self.taints if taint.effect != "PreferNoSchedule")
        return [taint for taint in hard if not any(one.covers(taint) for one in known)]

    def free(self, resource: str) -> int:
        return max(0, self.gpus.get(resource, 0) - self.used.get(resource, 0))


def quantity(text: str | int | float) -> Decimal:
    """A Kubernetes quantity (`15Gi`, `3920m`, `1e3`) as a number. Raises ValueError if it is not one."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)([A-Za-z]{0,2})", str(text))
    if found is None or found[2] not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity")
    return Decimal(found[1]) * _SUFFIXES[found[2]]


def node_of(
    item: Mapping[str, Any], used: Mapping[str, int] | None = None, *, dra: int = 0, mapped: bool = False
) -> Node:
    """A node from the API's JSON (camelCase). A cordoned node counts as not ready. `used`: what running pods request,
    by resource; `dra`: its cards that are served by DRA; `mapped`: whether a DeviceClass stands for requests of
    nvidia.com/gpu."""
    metadata, spec, status = item["metadata"], item.get("spec", {}), item.get("status", {})
    has = status.get("allocatable") or status.get("capacity") or {}
    memory = int(quantity(has.get("memory", 0)))
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    gpus = {name: int(quantity(count)) for name, count in has.items() if name.startswith(GPU_RESOURCES)}
    by_dra = {GPU_RESOURCES + "gpu": dra} if dra and not any(gpus.values()) else {}
    return Node(
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        taints=tuple(
            Taint(one["key"], one.get("value") or "", one["effect"])
            for one in spec.get("taints") or ()
            if not one["key"].startswith("node.kubernetes.io/")
        ),
        gpus=gpus | by_dra,
        dra_only=bool(by_dra) and not mapped,
        used=used or {},
        provider_id=spec.get("providerID") or "",
        ready=conditions.get("Ready", "True") == "True" and not spec.get("unschedulable"),
        cpu=float(quantity(has.get("cpu", 0))),
        memory=memory,
        free_memory=0 if used is None else memory - used.get("memory", 0),
        disk=int(quantity(has.get("ephemeral-storage", 0))),
    )
