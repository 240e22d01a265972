"""Downloads a run's files, as listed in its manifest, and verifies them by their SHA-256."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from job.artifacts import Artifact
from job.run import records
from job.run.records import Manifest, PublishedFile, read_manifest
from job.spec.places import STORES, model_place
from job.store import Store, open_store
from k8s.cluster.runs import Run
from k8s.errors import ObjectNotFound

OnProgress = Callable[[str, int, int], None]
"""Called with a file's name, bytes done, and bytes in total."""


class Readable(records.Readable, Protocol):
    """The operations of a run store that reading results needs."""

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Any = None) -> None:
        """Downloads a file, complete and verified."""


def manifest_of(store: Readable, run: str) -> Manifest:
    """A run's manifest. Raises ObjectNotFound if the run has not finished, IntegrityViolated if it is damaged."""
    found = read_manifest(store, run)
    if found is None:
        raise ObjectNotFound(
            f"{run} has no results in {store.url} yet", hint=f"`finetune-run status {run}` shows its progress."
        )
    return found


def wanted(manifest: Manifest, types: Sequence[str]) -> list[PublishedFile]:
    """The files of these types (q4_k_m, document, …), or all. Raises ObjectNotFound with the existing types."""
    if not types:
        return list(manifest.files)
    found = [one for one in manifest.files if one.type in {kind.lower() for kind in types}]
    if not found:
        there = sorted({one.type for one in manifest.files})
        raise ObjectNotFound(f"no file of type {', '.join(types)}", hint=f"Existing types: {', '.join(there)}.")
    return found


def download(store: Readable, files: Sequence[PublishedFile], folder: Path, on_progress: OnProgress) -> None:
    """Downloads each file under its published name, unless it is there and complete. Raises IntegrityViolated and the
    store's errors."""
    for file in files:
        item = Artifact(path=file.name, sha256=file.sha256, size=file.size)

        def said(done: int, file: PublishedFile = file) -> None:
            on_progress(file.name, done, file.size)

        store.get_file(file.key, folder / file.name, item, progress=said)
        on_progress(file.name, file.size, file.size)


def store_of(run: Run, folder: str | None = None) -> Store:
    """The run's store, with this user's own credentials. `folder`: where its volume is mounted here.

    Raises ObjectNotFound if only a pod can access it.
    """
    if folder:
        return open_store(folder)
    if run.store is None or model_place(run.store) not in STORES:
        where = f"in {run.store}, on a volume" if run.store else "only in its pod, and was deleted with it"
        raise ObjectNotFound(f"the work of {run.name} is {where}", hint="Name the volume's claim: --store-pvc NAME.")
    return open_store(run.store)
