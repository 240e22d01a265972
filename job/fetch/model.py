"""The model and the adapter as folders on this disk, and as views that may be loaded."""

import fnmatch
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from job import hub
from job.artifacts import Artifact, digest_of, sha256_of
from job.errors import NotFound
from job.fetch import safety
from job.fetch.inputs import check_content, hashes_of
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
    "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.jinja",
    "chat_template.json", "additional_chat_templates/*.jinja", "LICENSE*",
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
        if hollow is None:
            check_content(place)
        return Path(place).expanduser().resolve()
    found = Listing(place, pin)
    names = files_of(found, adapter=adapter)
    weights = weight_files(found, adapter=adapter)
    if hollow is not None:
        names = [name for name in names if name not in weights or not name.endswith(".safetensors")]
    folder.mkdir(parents=True, exist_ok=True)
    if where in STORES:
        download_objects(objects_at(place).store, names, folder, hashes_of(place))
    else:
        files = [file for file in hub.list_files(place, pin) if file.path in names]
        remove_others(folder, files)
        hub.download(place, pin, files, folder)
    if hollow:
        hollow(found, weights, folder)
    return folder


def files_of(found: Listing, *, adapter: bool = False) -> list[str]:
    """The files of a model or an adapter that a run reads. Raises the errors of `weight_files`."""
    readme = [name for name in found.names if name == "README.md"]
    return list(dict.fromkeys([*_beside(found), *readme, *weight_files(found, adapter=adapter)]))


def _beside(found: Listing) -> list[str]:
    """What belongs to the weights, at the top of the folder, and named chat templates."""
    return [name for name in found.names if any(_fits(name, one) for one in _WANTED)]


def _fits(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch.fnmatch(name, pattern)


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


def download_objects(store: Store, names: list[str], folder: Path, hashes: Mapping[str, str] = {}) -> None:
    """Downloads objects. `hashes`: the SHA-256 that they must have; without it each is read twice: for its hash, then
    to be written and verified. Raises NotFound, IntegrityViolated and the store's errors."""
    for name in names:
        expected = _expected(store, name, hashes.get(name))
        if expected is None:
            raise NotFound(f"{store.url}/{name} no longer exists")
        bar = Progress(f"downloading {name}", expected.size, "bytes")
        store.get_file(name, folder / name, expected, progress=bar.update)


def bring_file(place: str, folder: Path) -> Path:
    """One file on this disk: downloaded into `folder`, or used in place. Raises what `download_objects` does, and
    IntegrityViolated for content that is not what the place says."""
    if model_place(place) not in STORES:
        check_content(place)
        return Path(place).expanduser()
    store, names, _ = objects_at(place)
    download_objects(store, names[:1], folder, hashes_of(place))
    return folder / names[0]


def _expected(store: Store, name: str, sha256: str | None) -> Artifact | None:
    if sha256 is None:
        return store.measure(name)
    head = store.head(name)
    return Artifact(path=name, sha256=sha256, size=head.size) if head else None
