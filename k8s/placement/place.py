"""Decides where a run can go: from a wish for a GPU and the cluster's nodes to node affinity, tolerations and resource.

Pure: nodes come in as plain data (k8s/placement/nodes.py). Of the platforms' labelling schemes, those are
used under which a suitable node exists; if none exists now, those of the nodes' cloud, since its autoscaler may have a
pool that is scaled to zero. The scheduler has the last word: this module predicts its decision.
"""

import re
from collections.abc import Iterable, Sequence

from job.gpu_faults import DRIVER
from job.predict.gpus import OLDEST
from k8s.errors import GpuUnavailable, SettingsInvalid
from k8s.placement import dra, inventory
from k8s.placement.cards import as_labelled, gpu_seen, is_known
from k8s.placement.gpu_names import names_of_card, size_of
from k8s.placement.kinds import INSTANCE_TYPE, PRODUCT, Kind, old_driver, too_old
from k8s.placement.nodes import MACHINE, Expression, Node, Taint, Term, Toleration
from k8s.placement.placement import Placement
from k8s.placement.platforms import PLATFORMS, PROVIDERS, PlatformName
from k8s.placement.wish import Wish, cards_of, check_labels_known, memory_of

ON_ONE_MACHINE = {"k3s", "kind", "rke2"}
"""Providers (node.spec.providerID) that stand for no cloud, and start no nodes."""
_ABOUT_GPUS = re.compile(r"gpu|nvidia|accelerator", re.I)


def about_gpus(key: str, value: str | None) -> bool:
    """Whether a taint, or a toleration, is about GPUs."""
    return bool(_ABOUT_GPUS.search(f"{key}={value or ''}"))


def place(wish: Wish, nodes: Sequence[Node] | None) -> Placement:
    """The placement of a wish. `nodes` is None if they cannot be read: then `platform` or `label` must be set.

    Raises GpuUnavailable, with the GPUs that the cluster has, and SettingsInvalid.
    """
    if wish.gpus == ("none",):
        return Placement(tolerations=wish.tolerations)
    wish = with_seen(wish, nodes)
    names = cards_of(wish)
    if nodes is None:
        check_labels_known(wish)
    search = _Search(wish, nodes)
    groups = [[name] for name in names] if wish.is_auto else [names]
    options = [(group, kind) for group in groups for kind in wish.kinds]
    for group, kind in options:
        if found := search.there(group, kind):
            return search.placement(search.present(group, kind), kind, found)
    if wish.sizes:  # a node that is started is the smallest that suits, not any
        options = [([name], kind) for name in [*wish.sizes, *names] for kind in wish.kinds]
    for group, kind in options:
        if (wish.force or search.may_scale()) and search.terms(group, kind, scaled_to_zero=True):
            return search.placement(group, kind, [])
    raise _not_here(wish, names, search)


def with_seen(wish: Wish, nodes: Sequence[Node] | None) -> Wish:
    """The wish with what the nodes' labels say of its cards that are not in the table."""
    if all(is_known(name) for name in wish.gpus):
        return wish
    names = tuple(as_labelled(wish.gpus, nodes or ()))
    seen = {name: gpu for name in names if not is_known(name) and (gpu := gpu_seen(name, nodes or ()))}
    return wish.model_copy(update={"gpus": names, "seen": seen})


def _schemes(wish: Wish, nodes: Sequence[Node]) -> tuple[PlatformName, ...]:
    if wish.label:
        return ("custom",)
    if wish.platform:
        return (wish.platform,)
    clouds = {node.provider_id.split("://")[0]: None for node in nodes}
    found = [platform for cloud in clouds for platform in PROVIDERS.get(cloud, ())]
    return (*found, "gfd")


class _Search:
    """The search for a wish in one cluster."""

    def __init__(self, wish: Wish, nodes: Sequence[Node] | None) -> None:
        self.wish, self.nodes, self.unread = wish, tuple(nodes or ()), nodes is None
        self.schemes = _schemes(wish, self.nodes)
        if wish.spot and not any(PLATFORMS[one].spot() for one in self.schemes):
            raise SettingsInvalid(
                "--spot: there are no spot nodes, since no node is in a known cloud",
                hint="Leave --spot out.",
            )

    def may_scale(self) -> bool:
        """Whether there may be further nodes: in a cloud whose labels are known, or in any if the user names the label;
        or if the nodes cannot be read."""
        providers = {node.provider_id.split("://")[0] for node in self.nodes if node.provider_id}
        clouds = any(platform not in ("gfd", "custom") for platform in self.schemes)
        return self.unread or clouds or (bool(providers - ON_ONE_MACHINE) and bool(self.wish.label))

    def terms(
        self, gpus: Iterable[str], kind: Kind, *, scaled_to_zero: bool = False, any_driver: bool = True
    ) -> dict[Term, PlatformName]:
        """The alternatives, each with its platform. Without nodes, GFD's labels add nothing to a cloud's."""
        schemes = self.schemes
        if scaled_to_zero and len(schemes) > 1:
            schemes = tuple(platform for platform in schemes if platform != "gfd")
        found: dict[Term, PlatformName] = {}
        for platform in schemes:
            on_spot = PLATFORMS[platform].spot() if self.wish.spot else ()
            if self.wish.spot and not on_spot:
                continue
            each = (self._term(platform, gpu, kind) for gpu in gpus)
            rest = on_spot + (() if any_driver else PLATFORMS[platform].driver())
            found |= {one + rest: platform for one in each if one}
        return found

    def _term(self, platform: PlatformName, gpu: str, kind: Kind) -> Term:
        """A size names no product, so those that are shared here are left out: GFD before 0.15 marks them so only."""
        found = PLATFORMS[platform].term(gpu, kind, self.wish.named)
        shares = {node.labels.get(PRODUCT, "") for node in self.nodes if inventory.is_share(node)}
        if found and shares and size_of(gpu) and kind.what == "whole":
            return (*found, Expression(PRODUCT, "NotIn", tuple(sorted(shares))))
        return found

    def present(self, gpus: Sequence[str], kind: Kind) -> Sequence[str]:
        """With a size among the cards: those that are here, and the size only if it adds a node to theirs."""
        if not self.wish.sizes:
            return gpus
        here = {name: {node.name for node in self.there([name], kind)} for name in gpus}
        known = [name for name in gpus if here[name] and not size_of(name)]
        names = set().union(*(here[name] for name in known))
        return [*known, *(name for name in self.wish.sizes if here[name] - names)]

    def there(self, gpus: Sequence[str], kind: Kind) -> list[Node]:
        """The nodes that such a pod can run on once they are free."""
        terms = self.terms(gpus, kind)
        return [node for node in self.labelled(terms, kind) if self._can_run(node, kind)]

    def _can_run(self, node: Node, kind: Kind) -> bool:
        offered = inventory.kind_of(node, kind.resource).what
        usable = node.ready and node.runs_the_image and not node.dra_only and not old_driver(node) and not too_old(node)
        return usable and offered == kind.what and not self.barriers(node)

    def labelled(self, terms: Iterable[Term], kind: Kind) -> list[Node]:
        """The nodes with such cards, whether a pod can run there or not."""
        alternatives = tuple(terms)
        return [node for node in self.nodes if node.gpus.get(kind.resource) and node.satisfies(alternatives)]

    def barriers(self, node: Node) -> list[Taint]:
        """Taints that are not the platform's own, have no GPU in their name, and are not tolerated by the user."""
        known = list(self.wish.tolerations)
        for platform in self.schemes:
            known += PLATFORMS[platform].tolerations(self.wish.spot)
        return [taint for taint in node.barriers(known) if not about_gpus(taint.key, taint.value)]

    def placement(self, gpus: Sequence[str], kind: Kind, there: list[Node]) -> Placement:
        terms = self.terms(gpus, kind, scaled_to_zero=not there, any_driver=self.wish.force)
        if there:
            terms = _needed(terms, there)
        needed = dict.fromkeys(one for p in terms.values() for one in PLATFORMS[p].tolerations(self.wish.spot))
        own = (Toleration(t.key, t.value or None, t.effect) for n in there for t in n.barriers(needed))
        tolerations = dict.fromkeys([*needed, *(one for one in own if about_gpus(one.key, one.value))])
        return Placement(
            gpus=tuple(gpus),
            resource=kind.resource,
            memory=min(memory_of(self.wish, gpu) for gpu in gpus),
            seen={gpu: self.wish.gpu_of(gpu) for gpu in gpus if not is_known(gpu)},
            terms=tuple(terms),
            platforms=tuple(dict.fromkeys(terms.values())),
            kind=kind,
            on_spot=self.wish.spot,
            label=self.wish.label,
            tolerations=tuple(dict.fromkeys([*tolerations, *self.wish.tolerations])),
            nodes=tuple(node.name for node in there),
            notes=tuple(self._notes(gpus, kind, there, terms)),
        )

    def _notes(
        self, gpus: Sequence[str], kind: Kind, there: list[Node], terms: dict[Term, PlatformName]
    ) -> Iterable[str]:
        wanted = _or(gpus, kind, self.wish.spot)
        yield from self._assumed(gpus)
        has = min(memory_of(self.wish, gpu) for gpu in gpus)
        if (needs := self.wish.needs or 0) > has and has:
            yield f"The run needs {needs / 1e9:.1f} GB of VRAM, but {wanted} has {has / 1e9:.1f}; it is sent (--force)."
        if not there and not self.may_scale():
            yield (
                f"This cluster has no {wanted}; the run is sent (--force), and stays pending until there is one. "
                f"Available now: {inventory.said(self.nodes)}."
            )
        elif not there and self.nodes:
            yield (
                f"There is no node with {wanted} now. If a pool of such nodes is scaled to zero, the autoscaler adds "
                f"one; without such a pool, the run stays pending. Available now: {inventory.said(self.nodes)}."
            )
        elif not there:
            yield f"The nodes cannot be read: only scheduling shows whether one has {wanted}."
        elif not any(node.free(kind.resource) for node in there):
            yield f"All {wanted} are in use by other pods; the run waits until one is free."
        if not there:
            yield from self.blocked(gpus, kind)
        yield from self._unlabelled(gpus, kind, there)
        if kind.what != "whole":
            return
        least = min((node.gpus[kind.resource] for node in there), default=0) or min(
            PLATFORMS[platform].least_on_a_node(gpu) for platform in terms.values() for gpu in gpus
        )
        if least > 1:
            yield (
                f"Each node with {wanted} has {least} of them, and the run uses one: a node that is started for it "
                f"costs as much as all {least}."
            )

    def _assumed(self, gpus: Sequence[str]) -> Iterable[str]:
        """What is not known of cards that are not in the table."""
        others = [gpu for gpu in gpus if not is_known(gpu)]
        if unseen := [gpu for gpu in others if gpu not in self.wish.seen]:
            yield (
                f"No node says what memory and compute capability {' and '.join(unseen)} has: whether the run fits is "
                "not checked here, and bfloat16 is assumed."
            )
        if others:
            yield f"The speed of {' and '.join(others)} is not known, so the time on it is not predicted."

    def _unlabelled(self, gpus: Sequence[str], kind: Kind, there: list[Node]) -> Iterable[str]:
        machines = {name: n for gpu in gpus for name, n in _machines(gpu).items()}
        for node in self.labelled(self.terms(gpus, kind), kind):
            if kind.what == "whole" and inventory.kind_of(node, kind.resource).what != "whole":
                yield (
                    f"Node {node.name} offers shares or slices, which its platform's labels do not say: the run may "
                    f"get one. With --platform gfd, NVIDIA's labels tell them apart."
                )
        for node in there:
            has = machines.get(node.labels.get(INSTANCE_TYPE, ""))
            if kind.what == "whole" and has and node.gpus[kind.resource] > has:
                yield (
                    f"Node {node.name} offers {node.gpus[kind.resource]} GPUs, but its machine has {has}: these are "
                    f"shares or slices without a label that says so."
                )

    def blocked(self, gpus: Sequence[str], kind: Kind) -> Iterable[str]:
        """Reasons why nodes with the card cannot be used."""
        for node in self.labelled(self.terms(gpus, kind), kind):
            for taint in self.barriers(node):
                spot_taint = any(
                    one.covers(taint) for p in self.schemes for one in PLATFORMS[p].tolerations(on_spot=True)
                )
                what = "it is a spot node: add --spot" if spot_taint else f"to use it, add --toleration {taint}"
                yield f"Node {node.name} has {_or(gpus, kind, False)}, but its taint {taint} keeps pods off; {what}."
            if not node.ready:
                yield f"Node {node.name} has {_or(gpus, kind, False)}, but is not ready or cordoned."
            if old := old_driver(node):
                has = f"Node {node.name} has {_or(gpus, kind, False)}"
                yield f"{has}, but driver {old}, and the image needs {DRIVER} or newer."
            if old := too_old(node):
                has = f"Node {node.name} has {_or(gpus, kind, False)}"
                yield f"{has}, of compute capability {old}, and the image's CUDA needs {'.'.join(map(str, OLDEST))}."
            if node.dra_only:
                yield f"Node {node.name} has {_or(gpus, kind, False)}, but serves it by DRA: {dra.ADVICE}."
            if not node.runs_the_image:
                has = ", ".join(f"{key}={node.labels.get(key, '')}" for key in MACHINE)
                yield (
                    f"Node {node.name} has {_or(gpus, kind, False)}, but cannot run the image: it has {has}, and the "
                    f"image is built for {'/'.join(reversed(MACHINE.values()))}."
                )


def _machines(gpu: str) -> dict[str, int]:
    names = names_of_card(gpu)
    return names.eks | names.aks


def _needed(terms: dict[Term, PlatformName], there: list[Node]) -> dict[Term, PlatformName]:
    """The terms of platforms that match an existing node; GFD's only if no other term matches that node."""
    clouds = {term: platform for term, platform in terms.items() if platform != "gfd"}
    seen: set[PlatformName] = {
        platform for term, platform in clouds.items() if any(node.satisfies([term]) for node in there)
    }
    if not all(node.satisfies(clouds) for node in there):
        seen.add("gfd")
    return {term: platform for term, platform in terms.items() if platform in seen}


def _or(gpus: Sequence[str], kind: Kind, spot: bool) -> str:
    what = f"{kind} {' or '.join(gpus)}".strip()
    return f"{what} on spot" if spot else what


def _not_here(wish: Wish, names: list[str], search: _Search) -> GpuUnavailable:
    kind = wish.kinds[0]
    wanted = f"GPU with {(wish.needs or 0) / 1e9:.1f} GB" if wish.is_auto else _or(wish.sizes or names, kind, wish.spot)
    blocked = [one for kind in wish.kinds for one in search.blocked(names, kind)]
    has = f"It has: {inventory.said(search.nodes)}."
    if not search.nodes:
        has = "It has no node now. If pools are scaled to zero, name their platform: --platform gke, eks, aks, …"
    hint = " ".join([has, *dict.fromkeys(blocked), "`launch --force` sends it all the same."])
    return GpuUnavailable(f"this cluster has no {wanted} for this run", hint=hint)
