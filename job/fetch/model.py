"""The model and the adapter as folders on this disk, and as views that may be loaded."""

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from job import hub
from job.artifacts import digest_of, sha256_of
from job.errors import NotFound
from job.fetch import safety
from job.fetch.listing import Listing
from job.fetch.objects import objects_at
from job.fetch.sources import Sources
from job.fetch.view import brings_tokenizer, make_view, with_tokenizer
from job.fetch.weights import ADAPTER, weight_files
from job.hub.download import remove_others
from job.logs import Progress
from job.spec import JobSpec
from job.spec.places import STORES, model_place
from job.store import Store

_WANTED = (
    "config.json", "generation_config.json", "adapter_config.json",
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.jinja", "LICENSE*",
)  # fmt: skip

Hollow = Callable[[Listing, list[str], Path], None]
"""Writes stand-ins for weight files of a listing into a folder."""


class Brought(NamedTuple):
    """Folders as they came, and views of them. `model`: with tokenizer and template of the adapter, if it has any."""

    model_folder: Path
    model: Path
    adapter_folder: Path | None = None
    adapter: Path | None = None

    @property
    def brings_tokenizer(self) -> bool:
        return self.adapter is not None and brings_tokenizer(self.adapter)


def bring(spec: JobSpec, sources: Sources, workdir: Path, hollow: Hollow | None = None) -> Brought:
    """Downloads model and adapter, checks them, and makes their views: <workdir>/model, adapter, model-view,
    adapter-view. A folder is used in place. `hollow`: instead of downloading weights."""
    folder = _folder(spec.model.id, sources.model, workdir / "model", hollow)
    safety.check_folder(folder, spec.model.id, trained=spec.training is not None)
    model = make_view(folder, workdir / "model-view", weight_files(Listing.of(folder)))
    if not (spec.model.adapter and sources.adapter):
        return Brought(folder, model)
    own = _folder(spec.model.adapter, sources.adapter, workdir / "adapter", hollow, adapter=True)
    safety.check_folder(own, spec.model.adapter, adapter=True)
    adapter = make_view(own, workdir / "adapter-view", [ADAPTER])
    return Brought(folder, with_tokenizer(model, adapter), own, adapter)


def _folder(place: str, pin: str, folder: Path, hollow: Hollow | None, *, adapter: bool = False) -> Path:
    """A model or adapter as a folder: downloaded, or used in place."""
    where = model_place(place)
    if where == "path":
        return Path(place).expanduser().resolve()
    found = Listing(place, pin)
    weights = weight_files(found, adapter=adapter)
    names = [*_beside(found), *(name for name in found.names if name == "README.md")]
    names += [name for name in weights if hollow is None or not name.endswith(".safetensors")]
    folder.mkdir(parents=True, exist_ok=True)
    if where in STORES:
        download_objects(objects_at(place).store, names, folder)
    else:
        files = [file for file in hub.list_files(place, pin) if file.path in names]
        remove_others(folder, files)
        hub.download(place, pin, files, folder)
    if hollow:
        hollow(found, weights, folder)
    return folder


def _beside(found: Listing) -> list[str]:
    """What belongs to the weights, at the top of the folder."""
    return [name for name in found.names if "/" not in name and any(fnmatch.fnmatch(name, one) for one in _WANTED)]


def folder_digest(folder: Path, *, adapter: bool = False) -> str:
    """A digest of the weights, the configuration and the tokenizer, in hex."""
    found = Listing.of(folder)
    files = [folder / name for name in sorted({*_beside(found), *weight_files(found, adapter=adapter)})]
    total, done, hashes = sum(path.stat().st_size for path in files), 0, []
    bar = Progress(f"hashing {folder.name}", total, "bytes")
    for path in files:
        hashes.append((path.name, sha256_of(path, lambda count, start=done: bar.update(start + count))))  # type: ignore[misc]
        done += path.stat().st_size
    return digest_of(hashes)


def download_objects(store: Store, names: list[str], folder: Path) -> None:
    """Downloads objects. Each is read twice: for its hash, then to be written and verified."""
    for name in names:
        expected = store.measure(name)
        if expected is None:
            raise NotFound(f"{store.url}/{name} no longer exists")
        bar = Progress(f"downloading {name}", expected.size, "bytes")
        store.get_file(name, folder / name, expected, progress=bar.update)
