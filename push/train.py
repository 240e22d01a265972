"""Sends the specs of a push: all are prepared before the first is sent, so a wrong one stops all."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from job.local_files import places_here
from job.spec import JobSpec
from job.spec.overlay import Assignment
from k8s.ask import ask
from k8s.budget import Allowed
from k8s.cluster.client import Cluster
from k8s.cluster.references import check_references
from k8s.cluster.submit import Submitted, existing, submit, try_pod
from k8s.inputs.along import Along, along
from k8s.inputs.upload import upload
from k8s.manifest.parse import resources
from k8s.output import say_wait
from k8s.placement.prices import same_for_all
from k8s.placement.wish import Wish
from k8s.prepare import Prepared, prepare
from push import price
from push.annotations import COMMIT, FILE, PUSHED, REPOSITORY, URL, Origin, with_commit
from push.changes import Changed
from push.config import Config
from push.data import Specs, is_brought, seen_from_here


class Sent(NamedTuple):
    """A spec and its run."""

    spec: Changed
    prepared: Prepared
    estimate: price.Estimate
    submitted: Submitted


def send(cluster: Cluster, specs: Specs, config: Config, origin: Origin, folder: Path) -> list[Sent]:
    """Sends all. `folder`: where the commit's data lies. Raises SpecInvalid and the launcher's errors, if possible
    before anything is sent."""
    ready = [(one, prepared(cluster, one, spec, config, origin, folder)) for one, spec in specs]
    local = {one.name: spec for one, spec in specs}
    costs = {
        one.name: price.estimate(
            local[one.name],
            next(iter(item.placement.cards), None),
            config,
            seen_from_here(local[one.name], folder),
        )
        for one, item in ready
    }
    price.check(costs, config)
    notes = {}
    for one, item in ready:
        check_references(cluster, item.settings)
        notes[one.name] = try_pod(cluster, item.manifest)
        for part in item.manifest:
            cluster.create({**part, "metadata": _unnamed(part["metadata"])}, dry_run=True)
    for _, item in ready:
        found = existing(cluster, item.settings.name)
        if found is None or found.state == "failed":
            pod = item.manifest.job["spec"]["template"]["spec"]
            upload(item.along, item.settings, cluster, pod, lambda *_: None, say_wait)
    sent = []
    for one, item in ready:
        done = submit(cluster, item.manifest, "join")
        if done.how == "joined":
            _mark(cluster, done.run.name, origin)
        told = item.model_copy(update={"notes": (*item.notes, *notes[one.name], *filter(None, [done.note]))})
        sent.append(Sent(one, told, costs[one.name], done))
    return sent


def card(item: Prepared) -> str | None:
    """The GPU for the price."""
    return item.placement.gpus[0] if item.placement.gpus else None


def prepared(cluster: Cluster, one: Changed, spec: JobSpec, config: Config, origin: Origin, folder: Path) -> Prepared:
    """The run to send. The pushed file sets the spec, and the configuration everything else. Of this machine nothing
    goes along but what lies in the folder."""

    def wish(needs: int | None) -> Wish:
        return Wish.of(config.gpu, needs=needs, platform=config.platform, spot=config.spot)

    def bring(specs: Sequence[JobSpec], settings: Mapping[str, Any], reachable: Sequence[bool]) -> Along:
        return along(specs, settings, [place for place in places_here(specs) if is_brought(place, folder)])

    def read(more: Sequence[Assignment]) -> JobSpec:
        return spec

    deadline: dict[str, Any] = {"deadline_s": int(config.deadline_hours * 3600)} if config.deadline_hours else {}
    asked = ask(
        wish,
        read,
        bring=bring,
        resources=resources(config.cpu, config.memory, config.disk, config.cpu_limit),
        budget=Allowed(same_for_all(config.price_per_hour) if config.price_per_hour else {}),
        namespace=cluster.namespace,
        image=config.image,
        pull_secrets=config.pull_secrets,
        service_account=config.service_account,
        env=config.env,
        env_secrets=config.secrets,
        store_pvc=config.store_pvc,
        queue=config.queue,
        suspend=config.queue is not None,
        ttl_s=config.ttl_days * 86400,
        labels=config.labels | {PUSHED: "true"},
        annotations={REPOSITORY: origin.repository, COMMIT: origin.commit, FILE: one.name, URL: origin.url},
        **deadline,
    )
    return prepare(cluster, asked)


def _unnamed(metadata: dict[str, Any]) -> dict[str, Any]:
    """The metadata with a new name: only to test whether the cluster would accept the object."""
    return metadata | {"name": f"{metadata['name'][:44].rstrip('-.')}-{os.urandom(3).hex()}"}


def _mark(cluster: Cluster, name: str, origin: Origin) -> None:
    """Adds this commit to a run that existed already, so that its end is reported there too."""
    notes = cluster.job(name)["metadata"].get("annotations") or {}
    ours = notes.get(REPOSITORY) == origin.repository
    commits = with_commit(notes.get(COMMIT, "") if ours else "", origin.commit)
    marks = {COMMIT: commits, REPOSITORY: origin.repository}
    cluster.patch_job(name, {"metadata": {"annotations": marks, "labels": {PUSHED: "true"}}})
