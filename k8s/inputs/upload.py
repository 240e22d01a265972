"""Puts what goes along into the run store: uploaded once, verified, and there only when it is whole."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from job.artifacts import Artifact
from job.errors import IntegrityViolated
from job.local_files import Input, OnProgress
from job.store import Store, open_store
from k8s.cluster.client import Cluster
from k8s.cluster.pod_store import PodStore, pod_store
from k8s.errors import SettingsInvalid
from k8s.inputs.along import Along
from k8s.manifest.base import STORE
from k8s.manifest.settings import Settings

PATIENCE_S = 60.0
"""Seconds for which calls to S3 are tried again: a person waits."""
ENDPOINT = "AWS_ENDPOINT_URL"


def upload(
    along: Along,
    settings: Settings,
    cluster: Cluster | None,
    pod: Mapping[str, Any],
    told: OnProgress,
    on_wait: Callable[[str], None],
) -> None:
    """Uploads what is not there yet. `pod`: the run's; `on_wait`: see `pod_store`. Raises the errors of the store,
    IntegrityViolated for a file that changes meanwhile, and SettingsInvalid."""
    if along.way == "store":
        check_endpoint(along, settings.env)
        to_store(open_store(along.root).patient_for(PATIENCE_S), along.inputs, told)
    elif along.way == "volume":
        if cluster is None or settings.store_pvc is None:
            raise SettingsInvalid("a volume can be reached only through its cluster", hint="Set KUBECONFIG.")
        below = along.root.removeprefix(STORE).strip("/")
        volume = (settings.store_pvc, settings.image, settings.user, pod)
        with pod_store(cluster, *volume, writable=True, on_wait=on_wait) as store:
            to_volume(store, f"{below}/" if below else "", along.inputs, told)


def to_store(store: Store, inputs: Sequence[Input], told: OnProgress) -> None:
    """To S3. A file that is there, by its hash, is not sent again; the list beside a folder is written last."""
    for one in inputs:
        for key, path, file in one.sources():
            told(file.path, 0, file.size)
            made = store.put_file(key, path, lambda done, file=file: told(file.path, done, file.size))  # type: ignore[misc]
            if made.sha256 != file.sha256:
                store.delete(key)
                raise IntegrityViolated(f"{path} was changed while it was uploaded", hint="Launch the run again.")
            told(file.path, file.size, file.size)
        if one.is_folder:
            store.put(one.list_key, one.listed)


def to_volume(store: PodStore, below: str, inputs: Sequence[Input], told: OnProgress) -> None:
    """The same to a volume, through a pod."""
    for one in inputs:
        for key, path, file in one.sources():
            told(file.path, 0, file.size)
            item = file.model_copy(update={"path": below + key})
            store.put_file(item, path, lambda done, file=file: told(file.path, done, file.size))
            told(file.path, file.size, file.size)
        if one.is_folder:
            item = Artifact(path=below + one.list_key, sha256=one.digest, size=len(one.listed))
            store.put_file(item, one.listed)


def check_endpoint(along: Along, env: Mapping[str, str]) -> None:
    """Raises SettingsInvalid if the pod's S3 is another one than the one that this machine would write to."""
    there, here = env.get(ENDPOINT), os.environ.get(ENDPOINT)
    if there and not here:
        raise SettingsInvalid(
            f"the pod finds {along.root} at {there}, and this machine would look for it at AWS",
            hint=f"Set {ENDPOINT} here too: to the same server, by an address that this machine reaches.",
        )
