"""Brings a run's files to this machine: from where its manifest says they are, verified by their SHA-256."""

from collections.abc import Callable, Sequence
from pathlib import Path

from job.artifacts import Artifact, verify
from job.errors import IntegrityViolated
from job.manifest import Manifest, PublishedFile, read_manifest
from job.store import Store, open_store
from k8s.errors import ObjectNotFound

OnProgress = Callable[[str, int, int], None]
"""Name of a file, bytes done, bytes in all."""


def manifest_of(store: Store, run: str) -> Manifest:
    """Raises ObjectNotFound where the run has not finished."""
    found = read_manifest(store, run)
    if found is None:
        raise ObjectNotFound(
            f"{run} has no results in {store.url} yet", hint=f"`finetune-run status {run}` shows how far it is."
        )
    return found


def wanted(manifest: Manifest, types: Sequence[str]) -> list[PublishedFile]:
    """The files of these types (q4_k_m, lora, …), or all. Raises ObjectNotFound with what there is."""
    if not types:
        return list(manifest.files)
    found = [one for one in manifest.files if one.type in {kind.lower() for kind in types}]
    if not found:
        there = sorted({one.type for one in manifest.files})
        raise ObjectNotFound(f"no file of type {', '.join(types)}", hint=f"There are {', '.join(there)}.")
    return found


def download(store: Store, files: Sequence[PublishedFile], folder: Path, on_progress: OnProgress) -> list[Path]:
    """Each file under its published name; what is there and whole stays. Raises IntegrityViolated and the store's."""
    paths = []
    for file in files:
        path = folder / file.name
        item = Artifact(path=file.name, sha256=file.sha256, size=file.size)
        if not _is_whole(folder, item):
            store.get_file(file.key, path, item, progress=lambda done, f=file: on_progress(f.name, int(done), f.size))  # type: ignore[misc]
        on_progress(file.name, file.size, file.size)
        paths.append(path)
    return paths


def _is_whole(folder: Path, item: Artifact) -> bool:
    try:
        verify(folder, item)
    except (IntegrityViolated, FileNotFoundError):
        return False
    return True


def store_of(url: str | None, run: str) -> Store:
    """The run's store, with this user's own credentials. Raises ObjectNotFound for one that only the pod can see."""
    if url is None or not url.startswith("s3://"):
        where = f"in {url}, which only a pod can read" if url else "only in the pod, and went with it"
        raise ObjectNotFound(
            f"the results of {run} are {where}", hint="Name the volume with --pvc, or set run.store to s3://…."
        )
    return open_store(url)
