"""Where a run can go: a wish for a GPU and what the cluster has -> node affinity, tolerations, the resource to ask for.

Pure: nodes come in as plain data (k8s/nodes.py). Of the schemes by which nodes may be labelled, those are taken under
which a fitting node is there; where none is there now, those of the cloud that the nodes are on, since its autoscaler
may have a pool that is scaled to zero. The scheduler decides in the end: what is computed here says what it will do.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from job.artifacts import Frozen
from job.gpus import GPUS, gpu_named
from k8s import inventory, platforms
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.gpu_names import GPU_NAMES
from k8s.nodes import Expression, Node, Taint, Term, Toleration
from k8s.platforms import PROVIDERS, Kind, Platform

_PROFILE = re.compile(r"[1-7]g\.(?P<gb>[0-9]+)gb(\.me)?")
_LABEL = re.compile(r"(?P<key>([a-z0-9.-]{1,253}/)?[\w.-]{1,63})=(?P<values>[\w.-]{1,63}(,[\w.-]{1,63})*)", re.ASCII)
_ABOUT_GPUS = re.compile(r"gpu|nvidia|accelerator", re.I)


class Wish(Frozen):
    """What the user asks for. `needs`: bytes of VRAM that the run is predicted to take."""

    gpus: tuple[str, ...] = ("auto",)
    """Names of job/gpus.py: any of them will do. `auto`: the smallest that has `needs`. `none`: the CPU."""
    needs: int | None = None
    platform: Platform | None = None
    """Overrides what the nodes say."""
    label: str | None = None
    """`key=value` (or `key=a,b`): the label by which this cluster tells its GPUs apart."""
    spot: bool = False
    shared: bool = False
    mig: str = ""
    """A profile, e.g. 1g.5gb."""
    tolerations: tuple[Toleration, ...] = ()
    """Further ones, for taints that have nothing to do with GPUs."""

    @classmethod
    def of(cls, text: str, **options: Any) -> "Wish":
        """From what stands behind --gpu: `t4`, `t4,l4,a10`, `a100`, `auto`, `none`. Raises SettingsInvalid."""
        names = [name.strip().lower() for name in text.split(",") if name.strip()]
        if names == ["auto"] or names == ["none"]:
            return cls(gpus=tuple(names), **options)
        found: list[str] = []
        for name in names:
            gpu = gpu_named(name)
            if gpu is None:
                raise SettingsInvalid(f"--gpu: {name[:40]!r} is not known", hint=f"Known: {', '.join(GPUS)}.")
            found += ["a100-40", "a100-80"] if name == "a100" else [gpu.name]
        if not found:
            raise SettingsInvalid("--gpu is empty", hint=f"Name one: {', '.join(GPUS)}; or auto, or none for the CPU.")
        return cls(gpus=tuple(dict.fromkeys(found)), **options)


class Placement(Frozen):
    """Where the pod may go. `gpus` and `resource` are empty on the CPU."""

    gpus: tuple[str, ...] = ()
    resource: str = ""
    """One unit of it is asked for."""
    memory: int = 0
    """Bytes of VRAM of the smallest that the pod may get (of a shared card, all of it)."""
    terms: tuple[Term, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    nodes: tuple[str, ...] = ()
    """Nodes that fit and are there now."""
    notes: tuple[str, ...] = Field(default=(), repr=False)
    """What the user should know, a sentence or two each."""

    def affinity(self) -> dict[str, Any]:
        """The pod's affinity, or nothing."""
        if not self.terms:
            return {}
        terms = [{"matchExpressions": [one.manifest() for one in term]} for term in self.terms]
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def place(wish: Wish, nodes: Sequence[Node] | None) -> Placement:
    """Decides. `nodes` is None where they may not be read: then `platform` or `label` has to be there.

    Raises GpuUnavailable, which says what the cluster has instead, and SettingsInvalid.
    """
    if wish.gpus == ("none",):
        return Placement(tolerations=wish.tolerations)
    _check(wish, nodes)
    search = _Search(wish, tuple(nodes or ()), _schemes(wish, nodes))
    names = [name for name in (GPUS if wish.gpus == ("auto",) else wish.gpus) if _suits(wish, name)]
    if not names:
        raise _too_small(wish)
    if wish.gpus == ("auto",):
        groups: list[list[str]] = [[name] for name in names]
    else:
        groups = [names]
    options = [(group, kind) for group in groups for kind in platforms.kinds(wish.shared, wish.mig)]
    for group, kind in options:
        if found := search.there(group, kind):
            return search.placement(group, kind, found)
    for group, kind in options:
        if not search.may_scale(nodes is None):
            break
        if search.terms(group, kind, scaled_to_zero=True):
            return search.placement(group, kind, [])
    raise _not_here(wish, names, search)


def _check(wish: Wish, nodes: Sequence[Node] | None) -> None:
    if wish.shared and wish.mig:
        raise SettingsInvalid("a share and a MIG slice cannot both be asked for", hint="Leave one out.")
    if wish.mig and not _PROFILE.fullmatch(wish.mig):
        raise SettingsInvalid(f"--mig: {wish.mig[:40]!r} is no profile", hint="Profiles look like 1g.5gb or 3g.40gb.")
    if wish.label and not _LABEL.fullmatch(wish.label):
        raise SettingsInvalid(f"{wish.label[:80]!r} is no label", hint="Write key=value, or key=value1,value2.")
    if wish.label and wish.gpus == ("auto",):
        raise SettingsInvalid("a label is named, and no GPU", hint="Say which GPU it stands for: --gpu t4.")
    if wish.platform == "custom" and not wish.label:
        raise SettingsInvalid("platform custom needs the label that tells the GPUs apart", hint="Name it: key=value.")
    if nodes is None and not wish.platform and not wish.label:
        raise SettingsInvalid(
            "the nodes may not be read, so nothing says how GPUs are labelled here",
            hint="Name the platform: --platform gke, eks, karpenter, eks-auto, aks, aks-nap or gfd.",
        )


def _schemes(wish: Wish, nodes: Sequence[Node] | None) -> tuple[Platform, ...]:
    if wish.label:
        return ("custom",)
    if wish.platform:
        return (wish.platform,)
    clouds = {node.provider_id.split("://")[0]: None for node in nodes or ()}
    found = [platform for cloud in clouds for platform in PROVIDERS.get(cloud, ())]
    return (*found, "gfd")


def _suits(wish: Wish, name: str) -> bool:
    if wish.mig and not GPU_NAMES[name].mig:
        return False
    return _memory(wish, name) >= (wish.needs or 0)


def _memory(wish: Wish, name: str) -> int:
    slice_ = _PROFILE.fullmatch(wish.mig)
    # A slice has some hundred MB less than its name says (4864 MiB of 1g.5gb).
    return min(GPUS[name].memory, int(slice_["gb"]) * 950_000_000) if slice_ else GPUS[name].memory


class _Search:
    """One wish against one cluster."""

    def __init__(self, wish: Wish, nodes: tuple[Node, ...], schemes: tuple[Platform, ...]) -> None:
        self.wish, self.nodes, self.schemes = wish, nodes, schemes
        label = _LABEL.fullmatch(wish.label or "")
        self.named: Term = (Expression(label["key"], "In", tuple(label["values"].split(","))),) if label else ()

    def may_scale(self, unread: bool) -> bool:
        """Whether there may be nodes that nobody sees: in a cloud, or where the nodes cannot be read."""
        return unread or any(platform not in ("gfd", "custom") for platform in self.schemes) or self._in_a_cloud()

    def _in_a_cloud(self) -> bool:
        return any(node.provider_id.split("://")[0] in PROVIDERS for node in self.nodes)

    def terms(self, gpus: Iterable[str], kind: Kind, *, scaled_to_zero: bool = False) -> dict[Term, Platform]:
        """The alternatives, each with its platform. Without nodes, GFD's labels are of no use beside a cloud's."""
        schemes = self.schemes
        if scaled_to_zero and len(schemes) > 1:
            schemes = tuple(platform for platform in schemes if platform != "gfd")
        found: dict[Term, Platform] = {}
        for platform in schemes:
            for same in self._one_scheme(platform, gpus, kind):
                found[same] = platform
        return found

    def _one_scheme(self, platform: Platform, gpus: Iterable[str], kind: Kind) -> list[Term]:
        """One term for all the cards whose names are values of the same labels, else one for each."""
        on_spot = platforms.spot(platform) if self.wish.spot else ()
        if self.wish.spot and not on_spot:
            return []
        each = [platforms.term(platform, gpu, kind, self.named) for gpu in gpus]
        return [one + on_spot for one in _joined([one for one in each if one])]

    def there(self, gpus: Sequence[str], kind: Kind) -> list[Node]:
        """The nodes that such a pod can run on, once they are free."""
        terms = self.terms(gpus, kind)
        return [node for node in self.labelled(terms, kind) if node.ready and not self.barriers(node)]

    def labelled(self, terms: Iterable[Term], kind: Kind) -> list[Node]:
        """The nodes with such cards, whether a pod can go there or not."""
        alternatives = tuple(terms)
        return [node for node in self.nodes if node.gpus.get(kind.resource) and node.satisfies(alternatives)]

    def barriers(self, node: Node) -> list[Taint]:
        """Taints that are neither the platform's own nor about GPUs by their name, nor tolerated by the user."""
        known = list(self.wish.tolerations)
        for platform in self.schemes:
            known += platforms.tolerations(platform, self.wish.spot)
        return [taint for taint in node.barriers(known) if not _ABOUT_GPUS.search(f"{taint.key}={taint.value}")]

    def placement(self, gpus: Sequence[str], kind: Kind, there: list[Node]) -> Placement:
        terms = self.terms(gpus, kind, scaled_to_zero=not there)
        if there:
            terms = _needed(terms, there)
        needed = dict.fromkeys(one for p in terms.values() for one in platforms.tolerations(p, self.wish.spot))
        own = (Toleration(t.key, t.value or None, t.effect) for n in there for t in n.barriers(needed))
        tolerations = dict.fromkeys([*needed, *(one for one in own if _ABOUT_GPUS.search(f"{one.key}={one.value}"))])
        return Placement(
            gpus=tuple(gpus),
            resource=kind.resource,
            memory=min(_memory(self.wish, gpu) for gpu in gpus),
            terms=tuple(terms),
            tolerations=tuple(dict.fromkeys([*tolerations, *self.wish.tolerations])),
            nodes=tuple(node.name for node in there),
            notes=tuple(self._notes(gpus, kind, there, terms)),
        )

    def _notes(self, gpus: Sequence[str], kind: Kind, there: list[Node], terms: dict[Term, Platform]) -> Iterable[str]:
        wanted = _or(gpus, kind, self.wish.spot)
        if not there and self.nodes:
            yield (
                f"No node has {wanted} now. If a pool of such nodes is scaled to zero, the autoscaler adds one; if "
                f"there is no such pool, the run stays pending. Here now: {inventory.said(self.nodes)}."
            )
        elif not there:
            yield f"The nodes cannot be seen from here: whether there is {wanted} shows when the pod is scheduled."
        elif not any(node.free(kind.resource) for node in there):
            yield f"Each {wanted} here is in use by other pods; the run waits until one is free."
        yield from self.blocked(gpus, kind)
        if kind.what != "whole":
            return
        least = min((node.gpus[kind.resource] for node in there), default=0) or min(
            platforms.least_on_a_node(platform, gpu) for platform in terms.values() for gpu in gpus
        )
        if least > 1:
            yield (
                f"Each node with {wanted} has {least} of them, and the run uses one: a node that is started for it "
                f"costs as much as all {least}."
            )

    def blocked(self, gpus: Sequence[str], kind: Kind) -> Iterable[str]:
        """Why nodes that have the card are of no use."""
        for node in self.labelled(self.terms(gpus, kind), kind):
            for taint in self.barriers(node):
                spot_taint = any(
                    one.covers(taint) for p in self.schemes for one in platforms.tolerations(p, on_spot=True)
                )
                what = "it is a spot node: add --spot" if spot_taint else f"to go there, add --toleration {taint}"
                yield f"Node {node.name} has {_or(gpus, kind, False)}, but its taint {taint} keeps pods off; {what}."
            if not node.ready:
                yield f"Node {node.name} has {_or(gpus, kind, False)}, but is not ready or cordoned."


def _joined(terms: list[Term]) -> list[Term]:
    """Terms that differ only in the values of In and NotIn become one, so that a list of GPUs stays readable."""
    groups: dict[tuple[tuple[str, str], ...], list[Term]] = {}
    for term in terms:
        groups.setdefault(tuple((one.key, one.operator) for one in term), []).append(term)
    found: list[Term] = []
    for group in groups.values():
        columns = [{one.values: None for one in column} for column in zip(*group, strict=True)]
        if sum(len(column) > 1 for column in columns) > 1 and any(
            one.operator == "In" and len(column) > 1 for one, column in list(zip(group[0], columns, strict=True))[1:]
        ):
            found += group  # a100 with its memory: joined, the values would cross
            continue
        found.append(
            tuple(
                one._replace(values=tuple(dict.fromkeys(value for values in column for value in values)))
                for one, column in zip(group[0], columns, strict=True)
            )
        )
    return found


def _needed(terms: dict[Term, Platform], there: list[Node]) -> dict[Term, Platform]:
    """The terms under which a node is there; GFD's only where no other term finds that node."""
    clouds = {term: platform for term, platform in terms.items() if platform != "gfd"}
    seen = {term: platform for term, platform in clouds.items() if any(node.satisfies([term]) for node in there)}
    if all(node.satisfies(seen) for node in there):
        return seen
    return seen | {term: platform for term, platform in terms.items() if platform == "gfd"}


def _or(gpus: Sequence[str], kind: Kind, spot: bool) -> str:
    what = f"{' or '.join(gpus)} {kind}".strip()
    return f"a {what} on a spot node" if spot else f"a {what}"


def _too_small(wish: Wish) -> Exception:
    if wish.mig and wish.gpus != ("auto",) and not any(GPU_NAMES[name].mig for name in wish.gpus):
        can = ", ".join(name for name in GPUS if GPU_NAMES[name].mig)
        return SettingsInvalid(f"{', '.join(wish.gpus)}: no MIG on this GPU", hint=f"These have it: {can}.")
    needs = (wish.needs or 0) / 1e9
    larger = [name for name, gpu in GPUS.items() if gpu.memory >= (wish.needs or 0)]
    advice = f"These have it: {', '.join(larger)}." if larger else "No GPU that is known has it."
    return GpuUnavailable(
        f"the run needs {needs:.1f} GB of VRAM, and {', '.join(wish.gpus)} has less",
        hint=f"{advice} `python -m job plan` says what would make the run smaller.",
    )


def _not_here(wish: Wish, names: list[str], search: _Search) -> GpuUnavailable:
    kind = platforms.kinds(wish.shared, wish.mig)[0]
    wanted = f"a GPU with {(wish.needs or 0) / 1e9:.1f} GB" if wish.gpus == ("auto",) else _or(names, kind, False)
    blocked = [one for kind in platforms.kinds(wish.shared, wish.mig) for one in search.blocked(names, kind)]
    where = " on a spot node" if wish.spot else ""
    return GpuUnavailable(
        f"this cluster has no {wanted.removeprefix('a ')}{where} for this run",
        hint=" ".join([f"It has: {inventory.said(search.nodes)}.", *dict.fromkeys(blocked)]),
    )
