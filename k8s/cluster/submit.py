"""Creates a run's objects once: an existing run is joined, refused or created again, never doubled."""

import re
import time
from contextlib import suppress
from typing import Literal, NamedTuple

from k8s.cluster.client import Cluster
from k8s.cluster.differences import note_on
from k8s.cluster.runs import Run, run_of
from k8s.errors import (
    AccessDenied,
    AdmissionRefused,
    AlreadyThere,
    LauncherError,
    ObjectNotFound,
    WaitedTooLong,
)
from k8s.manifest.render import Manifest
from k8s.placement.nodes import quantity

IfExists = Literal["join", "fail", "new"]


class Submitted(NamedTuple):
    """The run, and whether it was created now (`created`), created again after a failure (`again`) or exists
    (`joined`). `note`: what the user should know of one that exists."""

    run: Run
    how: Literal["created", "again", "joined"]
    note: str = ""


def try_pod(cluster: Cluster, manifest: Manifest) -> list[str]:
    """Asks the API server whether it would admit the Job's pod, without creating it: what refuses a pod (a quota, Pod
    Security, a priority class that is missing) does not refuse its Job, which then waits for ever.

    Nothing is asked if the run exists already. Returns notes for the user. Raises AdmissionRefused if the pod can never
    be admitted, SettingsInvalid if it is not valid, and the API's errors.
    """
    name, template = manifest.job["metadata"]["name"], manifest.job["spec"]["template"]
    found = existing(cluster, name)
    if found and found.state != "failed":
        return []
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"]}
    pod["metadata"] = template["metadata"] | {"generateName": f"{name}-"}
    try:
        cluster.create(pod, dry_run=True)
    except AccessDenied:
        return ["you may not create pods here, so whether a quota or a rule refuses the run's is seen only afterwards"]
    except AdmissionRefused as error:
        if not _fits_later(error.message):
            raise
        return [f"the run waits until other pods leave it room: {error.message}"]
    return []


def _fits_later(said: str) -> bool:
    """Whether a quota has room for the pod once others are gone: `requested: cpu=2,…, used: …, limited: cpu=4,…`."""
    found = re.search(r"exceeded quota: \S+, requested: (.*), used: .*, limited: (.*)", said)
    if not found:
        return False
    requested, limited = (dict(one.split("=") for one in text.split(",")) for text in found.groups())
    return all(quantity(amount) <= quantity(limited[name]) for name, amount in requested.items())


def submit(cluster: Cluster, manifest: Manifest, if_exists: IfExists) -> Submitted:
    """`join`: an active run is followed, a complete one reported, a failed one created again (its work is in the store,
    and it has the same name and thus the same id). `new`: the caller has chosen another name.

    Raises AlreadyThere with `fail`, and the API's errors.
    """
    name = manifest.job["metadata"]["name"]
    found = existing(cluster, name)
    if found is None:
        return Submitted(_create(cluster, manifest), "created")
    if if_exists == "fail":
        raise AlreadyThere(
            f"{name} exists already and is {found.state}",
            hint=f"`finetune-run status {name}` shows it; --if-exists join follows it, new starts a second run.",
        )
    if found.state != "failed":
        return Submitted(found, "joined", note_on(cluster.job(name), manifest.job))
    cluster.delete_job(name)
    wait_until_gone(cluster, name)
    return Submitted(_create(cluster, manifest), "again")


def existing(cluster: Cluster, name: str) -> Run | None:
    """The run of this name, if there is one."""
    try:
        return run_of(cluster.job(name), cluster.pods(name))
    except ObjectNotFound:
        return None


def _create(cluster: Cluster, manifest: Manifest) -> Run:
    """Creates ConfigMap and Job, then makes the Job its owner, so that both are deleted together."""
    config = manifest.config_map["metadata"]["name"]
    made = _put_config_map(cluster, manifest)
    try:
        job = cluster.create(manifest.job)
    except AlreadyThere:  # two launchers at the same moment
        return run_of(cluster.job(manifest.job["metadata"]["name"]))
    except LauncherError:
        if made:
            cluster.delete_config_map(config)
        raise
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "blockOwnerDeletion": False,
    }
    cluster.patch_config_map(config, {"metadata": {"ownerReferences": [owner]}})
    return run_of(job)


def _put_config_map(cluster: Cluster, manifest: Manifest) -> bool:
    """Whether it was made now: its name is the hash of its content, so one that exists is right. But one whose Job was
    deleted is about to be collected, and the new Job's pods would wait for it for ever."""
    config = manifest.config_map["metadata"]["name"]
    try:
        cluster.create(manifest.config_map)
        return True
    except AlreadyThere:
        pass
    with suppress(ObjectNotFound):  # collected meanwhile
        owned = cluster.config_map(config)["metadata"].get("ownerReferences")
        if not owned or existing(cluster, manifest.job["metadata"]["name"]) is not None:
            return False
        cluster.delete_config_map(config)
    cluster.create(manifest.config_map)
    return True


def wait_until_gone(cluster: Cluster, name: str, timeout_s: float = 600.0) -> None:
    """Waits until the Job and its pods are gone. Raises WaitedTooLong."""
    until = time.monotonic() + timeout_s
    while existing(cluster, name) is not None or cluster.pods(name):
        if time.monotonic() > until:
            left = ", ".join(pod["metadata"]["name"] for pod in cluster.pods(name))
            raise WaitedTooLong(
                f"{name} is being deleted, but {left or 'the Job'} still exists after {timeout_s:g} s",
                hint="Check its node with `kubectl get nodes`; if the node is lost, run `kubectl delete pod --force`.",
            )
        time.sleep(0.5)
