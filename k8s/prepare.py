"""Turns what is asked for into a run to send: placement, settings, manifest, and notes for the user."""

from collections.abc import Mapping, Sequence
from typing import Any

from job import gpu_faults
from job.artifacts import Frozen
from job.predict.anatomy import Anatomy
from job.predict.cases_here import ASSUMED, Cases
from job.predict.prediction import Prediction, predict
from job.predict.row_lengths import RowLengths
from job.predict.timing import Machine, Seconds, total
from job.spec import JobSpec
from job.spec.naming import run_name
from k8s.ask import Asked
from k8s.cluster.client import Cluster
from k8s.errors import GpuUnavailable
from k8s.inputs.along import Along, encoded, paths_in_pod
from k8s.manifest.names import job_name
from k8s.manifest.render import Manifest, render
from k8s.manifest.resources import resources_of, with_file_cache
from k8s.manifest.settings import AccessMode, Resources, Settings
from k8s.manifest.sweep import Index, specs_of
from k8s.model import least_vram
from k8s.placement.disk import disk_notes
from k8s.placement.nodes import Node
from k8s.placement.place import place, with_seen
from k8s.placement.placement import Placement

BESIDE_SCRATCH = 16 << 30
"""Bytes on the node's disk if the work directory is on a scratch volume: /tmp, the cache, the log."""


class Prepared(Frozen):
    """A run that is ready to be sent. `notes`: hints for the user, a sentence or two each."""

    spec: JobSpec
    sweep: tuple[Index, ...]
    along: Along
    placement: Placement
    settings: Settings
    manifest: Manifest
    vram: int | None
    seconds: Seconds
    """Of all runs."""
    notes: tuple[str, ...]


def prepare(cluster: Cluster | None, asked: Asked, *, title: str | None = None, salt: str = "") -> Prepared:
    """Validates and decides everything that is possible before anything is sent.

    `cluster` is None if there is none (`--dry-run` with `--platform`). Raises the launcher's faults.
    """
    specs = specs_of(asked.spec, asked.sweep)
    nodes = cluster.nodes() if cluster and asked.wish.gpus != ("none",) else None
    asked = with_cards_seen(asked, nodes)
    placement = place(asked.wish, nodes)
    on_volume = bool(asked.settings.get("store_pvc"))
    llama_gpu = asked.settings.get("env", {}).get(gpu_faults.VARIABLE, "required") == "required"
    found = [
        predicted(spec, model, placement, rows, cases, on_volume=on_volume, llama_gpu=llama_gpu)
        for spec, model, rows, cases in zip(specs, asked.models, asked.rows, asked.cases, strict=True)
    ]
    needed = [resources_of(one) for one in found]
    largest = {name: max(getattr(one, name) for one in needed) for name in ("cpu", "memory", "disk", "shm")}
    there = [node for node in nodes or () if node.name in placement.nodes]
    pods = min(asked.settings.get("parallel", 1), len(specs))
    cached = max(with_file_cache(largest["memory"], one, there, pods) for one in found)
    if cached > largest["memory"] and cluster and not cluster.limits_memory():
        largest["memory"] = cached
    if (limit := asked.resources.get("cpu_limit")) and "cpu" not in asked.resources:
        largest["cpu"] = min(largest["cpu"], limit)
    if asked.settings.get("scratch"):
        largest["disk"] = min(largest["disk"], BESIDE_SCRATCH)
    size = Resources(**(largest | asked.resources))
    settings: dict[str, Any] = {
        "deadline_s": sum(one.deadline_s for one in found),
        "namespace": cluster.namespace if cluster else "default",
        "access_modes": _access_modes(cluster, asked),
        "inputs": encoded(asked.along.packed),
    } | asked.settings
    seconds = total(one.total for one in found)
    priced, said = asked.budget.variables(placement, seconds, len(specs))
    settings |= {"env": priced | asked.settings.get("env", {})}
    made = Settings.of(
        name=job_name(title or _title(asked), specs, salt), placement=placement, resources=size, **settings
    )
    notes = [
        *asked.notes,
        *placement.notes,
        *said,
        *_storeless(specs, made),
        *paths_in_pod(specs, asked.along),
        *disk_notes(placement, size.disk),
        *_unknown_modes(made, len(asked.sweep)),
    ]
    if (fault := _too_small(size, placement, nodes)) and not asked.wish.force:
        raise fault
    notes += [f"{fault.message}; it is sent (--force)"] if fault else []
    return Prepared(
        spec=asked.spec, sweep=asked.sweep, along=asked.along, placement=placement, settings=made,
        manifest=render(made, asked.spec, asked.sweep), vram=asked.vram, seconds=seconds,
        notes=tuple(notes),
    )  # fmt: skip


def _title(asked: Asked) -> str:
    """What the Job is named after: the run; `sweep` if its runs differ in what they are named after."""
    swept = [path for one in asked.sweep[:1] for path in one.changes]
    return (
        "sweep"
        if any(path.startswith(("model.", "publish.name", "publish.hub")) for path in swept)
        else run_name(asked.spec)
    )


def with_cards_seen(asked: Asked, nodes: Sequence[Node] | None) -> Asked:
    """The same, with what the nodes say of cards that are not in the table, and the VRAM that a run needs on these."""
    wish = with_seen(asked.wish, nodes)
    if not wish.seen:
        return asked
    specs = specs_of(asked.spec, asked.sweep)
    vram = least_vram(specs, asked.models, [wish.gpu_of(name) for name in wish.gpus])
    return asked._replace(wish=wish.model_copy(update={"needs": vram}), vram=vram)


def predicted(
    spec: JobSpec,
    model: Anatomy | None,
    placement: Placement,
    rows: RowLengths | None,
    cases: Cases = ASSUMED,
    *,
    on_volume: bool,
    llama_gpu: bool = True,
) -> Prediction:
    """The pod's prediction; but for times, the same on every machine. `on_volume`: whether the store is on a volume if
    the spec names none; `llama_gpu`: whether llama.cpp is sure to use the GPU, if there is one."""
    if on_volume:
        spec = spec.model_copy(update={"run": spec.run.model_copy(update={"store": "/store"})})
    card = next(iter(placement.cards), None)
    on_gpu = bool(placement.resource)
    machine = Machine(card, llama_gpu=llama_gpu)
    return predict(spec, model, machine, rows=rows, cases=cases, on_gpu=on_gpu, exact=False)


def _storeless(specs: Sequence[JobSpec], settings: Settings) -> list[str]:
    if all(one.run.store for one in specs) or settings.store_pvc:
        return []
    return ["no store outlives the pod, so a lost pod starts from the beginning; set --store-pvc NAME or run.store"]


def _claims(settings: Mapping[str, Any]) -> list[str]:
    return [claim for name in ("store_pvc", "cache_pvc") if (claim := settings.get(name))]


def _access_modes(cluster: Cluster | None, asked: Asked) -> dict[str, AccessMode]:
    """Those that can be read, if several runs at a time are to mount the claims."""
    if not cluster or asked.settings.get("parallel", 1) == 1 or not asked.sweep:
        return {}
    return {claim: mode for claim in _claims(asked.settings) if (mode := cluster.access_mode(claim))}


def _unknown_modes(settings: Settings, runs: int) -> list[str]:
    unknown = [claim for claim in _claims(settings.model_dump()) if claim not in settings.access_modes]
    if min(settings.parallel, runs) < 2 or not unknown:
        return []
    return [
        f"the access mode of {', '.join(unknown)} cannot be read: {settings.parallel} runs at a time need "
        "ReadWriteMany, or their pods hold a GPU and wait for the volume"
    ]


def _too_small(size: Resources, placement: Placement, nodes: Sequence[Node] | None) -> GpuUnavailable | None:
    """The error if every node with the GPU has too little memory or disk."""
    fitting = [node for node in nodes or () if node.name in placement.nodes and node.memory]
    small = [node for node in fitting if size.memory > node.memory or size.disk > (node.disk or size.disk)]
    if not fitting or len(small) < len(fitting):
        return None
    node = max(fitting, key=lambda one: one.memory)
    return GpuUnavailable(
        f"the run asks for {size.memory / 2**30:.0f} GiB of memory and {size.disk / 2**30:.0f} GiB of disk, but the "
        f"largest node with this GPU ({node.name}) has {node.memory / 2**30:.1f} and {node.disk / 2**30:.0f} GiB",
        hint="Use a larger node, or set --memory and --disk lower; --scratch puts the work directory on a volume. "
        "`launch --force` sends it as it is.",
    )
