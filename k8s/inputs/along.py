"""Decides what of this machine goes along with a run, and where to: below the run store, or, if it is small and there
is no store, in the Job's ConfigMap."""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from job.artifacts import Frozen
from job.errors import NotFound
from job.local_files import Input, OnProgress, inputs_of, moved, places_here
from job.spec import JobSpec
from job.spec.places import STORES, model_place
from k8s.errors import SettingsInvalid
from k8s.manifest.base import CACHE, STORE, WORK
from k8s.manifest.sweep import Index

MOST_PACKED = 500_000
"""Bytes of the archive in a ConfigMap, which holds 1 MiB, the spec with it."""
MOST_UNPACKED = 64 << 20
Way = Literal["store", "volume", "config_map"]


class Along(Frozen):
    """What goes along, and how. `looked`: whether this machine was looked at; `root`: the folder or address in which
    the run finds it; `packed`: the archive for the ConfigMap."""

    looked: bool = True
    inputs: tuple[Input, ...] = ()
    way: Way = "store"
    root: str = ""
    packed: bytes = b""

    @property
    def places(self) -> dict[str, str]:
        """Where the run finds each, by the place that the spec names."""
        return {one.place: f"{self.root}/{one.key}" for one in self.inputs}

    def spec(self, spec: JobSpec) -> JobSpec:
        """The spec for the run elsewhere."""
        return moved(spec, self.places) if self.inputs else spec

    def sweep(self, sweep: Sequence[Index]) -> tuple[Index, ...]:
        return tuple(
            Index(changes={path: self.places.get(str(value), value) for path, value in one.changes.items()},
                  spec=self.spec(one.spec))
            for one in sweep
        )  # fmt: skip

    def described(self) -> list[str]:
        """A line on each."""
        return [f"{one.place} ({shown_size(one.size)}) -> {self.places[one.place]}" for one in self.inputs]


def shown_size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def places_along(specs: Sequence[JobSpec], settings: Mapping[str, Any]) -> list[str]:
    """The places of this machine that go along with these runs. Raises NotFound for a relative path that is nowhere."""
    return [place for place in places_here(specs) if _is_here(place, settings)]


def along(
    specs: Sequence[JobSpec],
    settings: Mapping[str, Any],
    places: Sequence[str],
    on_progress: OnProgress | None = None,
) -> Along:
    """These places, hashed, and where they go. Raises SettingsInvalid if there is no place for them, and what
    `inputs_of` does."""
    if not places:
        return Along()
    inputs = tuple(inputs_of(specs, places, on_progress))
    stores = {one.run.store for one in specs}
    if len(stores) > 1:
        raise SettingsInvalid(
            "a sweep over run.store cannot take files of this machine along", hint="Name them in the store."
        )
    store = stores.pop() or (STORE if settings.get("store_pvc") else None)
    if store and model_place(store) in STORES:
        return Along(inputs=inputs, root=store.rstrip("/"))
    if store and settings.get("store_pvc") and PurePosixPath(store).is_relative_to(STORE):
        return Along(inputs=inputs, way="volume", root=store.rstrip("/"))
    return Along(inputs=inputs, way="config_map", root=WORK, packed=packed(inputs))


def packed(inputs: Sequence[Input]) -> bytes:
    """A gzipped tar of inputs, the same bytes for the same content. Raises SettingsInvalid if it would be too large."""
    raw, size = io.BytesIO(), sum(one.size for one in inputs)
    if size > MOST_UNPACKED:
        raise _too_large(inputs, f"{shown_size(size)}, at most {shown_size(MOST_UNPACKED)}")
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for one in inputs:
            for key, path, _ in one.sources():
                _add(archive, key, path.read_bytes())
            if one.is_folder:
                _add(archive, one.list_key, one.listed)
    archive_bytes = gzip.compress(raw.getvalue(), mtime=0)
    if len(archive_bytes) > MOST_PACKED:
        raise _too_large(inputs, f"{shown_size(len(archive_bytes))} packed, at most {shown_size(MOST_PACKED)}")
    return archive_bytes


def _too_large(inputs: Sequence[Input], why: str) -> SettingsInvalid:
    return SettingsInvalid(
        f"{', '.join(one.place for one in inputs)} would go along with the run, but is too large for that without a "
        f"store: {why}",
        hint="Name a store: --set run.store=s3://BUCKET/runs, or --store-pvc NAME. Or name the data where the pod can "
        "read it: on the Hub, in S3, on a volume.",
    )


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size, about.mode = len(content), 0o444
    archive.addfile(about, io.BytesIO(content))


def encoded(archive: bytes) -> str:
    """As a ConfigMap's binaryData."""
    return base64.b64encode(archive).decode()


def _is_here(place: str, settings: Mapping[str, Any]) -> bool:
    """Whether a path is one of this machine, not of a volume of the pod. Raises NotFound for a relative one that is
    nowhere."""
    path = PurePosixPath(place)
    if path.is_absolute() and any(path.is_relative_to(one) for one in _in_pod(settings)):
        return False
    if Path(place).expanduser().exists():
        return True
    if path.is_absolute():
        return False
    raise NotFound(f"there is no {place} here", hint="Correct the path; a Hub id is written owner/name.")


def _in_pod(settings: Mapping[str, Any]) -> list[str]:
    """The folders that volumes of the pod are mounted at."""
    own = [folder for name, folder in (("store_pvc", STORE), ("cache_pvc", CACHE)) if settings.get(name)]
    return [*own, *(settings.get("secret_files") or {}).values()]


def paths_in_pod(specs: Sequence[JobSpec], along: Along) -> list[str]:
    """Notes on paths that do not go along, and that the pod does not have by itself."""
    brought = set(along.places.values())
    in_pod = "on a volume (--store-pvc, --cache-pvc, --secret-file) or in the image"
    return [
        f"{one} lies here: `launch` takes it along"
        if not along.looked and Path(one).expanduser().exists()
        else f"{one} is a path: it must exist in the pod, {in_pod}"
        for one in places_here(specs)
        if one not in brought
    ]
