"""Creates a run's objects once: an existing run is joined, refused or created again, never doubled."""

import time
from typing import Literal, NamedTuple

from k8s.cluster.client import Cluster
from k8s.cluster.runs import Run, run_of
from k8s.errors import AlreadyThere, LauncherError, ObjectNotFound, WaitedTooLong
from k8s.manifest.render import Manifest

IfExists = Literal["join", "fail", "new"]


class Submitted(NamedTuple):
    """The run, and whether it was created now (`created`), created again after a failure (`again`) or exists
    (`joined`)."""

    run: Run
    how: Literal["created", "again", "joined"]


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
        return Submitted(found, "joined")
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
    made = True
    try:
        cluster.create(manifest.config_map)
    except AlreadyThere:
        made = False  # its name is the hash of its content
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
