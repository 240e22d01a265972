"""Brings a run's files to this machine: from where its manifest says they are, verified by their SHA-256."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from job.artifacts import Artifact
from job.run.records import Manifest, PublishedFile
from job.spec.places import STORES, model_place
from job.store import Store, open_store
from k8s.cluster.runs import Run
from k8s.errors import ObjectNotFound

OnProgress = Callable[[str, int, int], None]
"""Name of a file, bytes done, bytes in all."""


class Readable(Protocol):
    """What of a run store is needed to read results."""

    url: str

    def get(self, key: str) -> tuple[bytes, str] | None:
        """An object, or None."""

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Any = None) -> None:
        """A file, verified and whole."""


def manifest_of(store: Readable, run: str) -> Manifest:
    """Raises ObjectNotFound where the run has not finished."""
    found = store.get(f"runs/{run}/manifest.json")
    if found is None:
        raise ObjectNotFound(
            f"{run} has no results in {store.url} yet", hint=f"`finetune-run status {run}` shows how far it is."
        )
    return Manifest.model_validate_json(found[0])


def wanted(manifest: Manifest, types: Sequence[str]) -> list[PublishedFile]:
    """The files of these types (q4_k_m, document, …), or all. Raises ObjectNotFound with what there is."""
    if not types:
        return list(manifest.files)
    found = [one for one in manifest.files if one.type in {kind.lower() for kind in types}]
    if not found:
        there = sorted({one.type for one in manifest.files})
        raise ObjectNotFound(f"no file of type {', '.join(types)}", hint=f"There are {', '.join(there)}.")
    return found


def download(store: Readable, files: Sequence[PublishedFile], folder: Path, on_progress: OnProgress) -> None:
    """Each file under its published name; what is there and whole stays. Raises IntegrityViolated and the store's."""
    for file in files:
        item = Artifact(path=file.name, sha256=file.sha256, size=file.size)

        def said(done: int, file: PublishedFile = file) -> None:
            on_progress(file.name, done, file.size)

        store.get_file(file.key, folder / file.name, item, progress=said)
        on_progress(file.name, file.size, file.size)


def store_of(run: Run, folder: str | None = None) -> Store:
    """The run's store, with this user's own credentials. `folder`: where its volume is mounted here.

    Raises ObjectNotFound for one that only a pod can see.
    """
    if folder:
        return open_store(folder)
    if run.store is None or model_place(run.store) not in STORES:
        where = f"in {run.store}, on a volume" if run.store else "only in its pod, and went with it"
        raise ObjectNotFound(f"what {run.name} has made is {where}", hint="Name the volume's claim: --store-pvc NAME.")
    return open_store(run.store)
