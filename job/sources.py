"""What the spec's names stand for: a commit on the Hub, the state of a folder, a file or an S3 prefix."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from job import hub, safety
from job.artifacts import Frozen, digest_of
from job.errors import DataInvalid, NotFound
from job.logs import log
from job.naming import is_hub_id
from job.spec import Dataset, JobSpec
from job.store import Store, open_store

_DATA_FILES = (".json", ".csv", ".parquet", ".txt", ".gz")


class Sources(Frozen):
    """What the spec's names stand for: commits on the Hub; elsewhere a digest of names, sizes and times or tags."""

    model: str
    adapter: str | None = None
    datasets: list[str] = []
    text: str | None = None
    """Of `evaluation.text`."""


def resolve(spec: JobSpec) -> Sources:
    """Pins every name, checks that it may be read, and refuses unsafe repositories by their listing."""
    model = spec.model
    adapter = None
    if model.adapter:
        adapter = _pin_model(model.adapter, "main")
    pinned = _pin_model(model.id, model.revision)
    text = spec.evaluation.text if spec.evaluation.judge else None
    return Sources(
        model=pinned,
        adapter=adapter,
        datasets=[_pin_data(one) for one in spec.datasets],
        text=_pin_data(text.dataset) if text else None,
    )


def _pin_model(place: str, revision: str) -> str:
    if not is_hub_id(place):
        return fingerprint(place)
    commit = hub.commit_of(place, revision)
    hub.may_read(place)
    safety.check_names((file.path for file in hub.list_files(place, commit)), place)
    log.info("fetch.pinned", repo=place, revision=revision, commit=commit)
    return commit


def _pin_data(one: Dataset) -> str:
    if one.id.startswith(("http://", "https://")):
        return digest_of(one.id)
    if not is_hub_data(one.id):
        return fingerprint(one.id)
    commit = hub.commit_of(one.id, one.revision, "dataset")
    hub.may_read(one.id, "dataset")
    log.info("fetch.pinned", repo=one.id, revision=one.revision, commit=commit)
    return commit


def is_hub_data(place: str) -> bool:
    return is_hub_id(place) and not Path(place).suffix.lower().startswith(_DATA_FILES)


def fingerprint(place: str) -> str:
    """A digest that changes when a folder, a file or an S3 prefix does: names with sizes and times, or tags.

    Raises NotFound where there is nothing.
    """
    if place.startswith("s3://"):
        store, names, _ = objects_at(place)
        return digest_of([(name, store.head(name)) for name in names])
    path = Path(place).expanduser()
    if not path.exists():
        raise NotFound(
            f"there is no {path}", hint="A Hub id is owner/name; a path that begins with . / or ~ is one here."
        )
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file.relative_to(path)), file.stat()) for file in files if file.is_file()]
    return digest_of([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def local_state(spec: JobSpec, *, text: bool = True) -> dict[str, str]:
    """The fingerprints of what lies on this machine: part of the run's identity, since a path can change. `text`: that
    of `evaluation.text` too.

    Raises NotFound where there is nothing.
    """
    places = [place for place in (spec.model.id, spec.model.adapter) if place and not is_hub_id(place)]
    places += [one.id for one in spec.datasets if not is_hub_data(one.id)]
    if text and spec.evaluation.text and spec.evaluation.judge and not is_hub_data(spec.evaluation.text.id):
        places.append(spec.evaluation.text.id)
    return {place: fingerprint(place) for place in places if "://" not in place}


def model_bytes(spec: JobSpec, sources: Sources) -> int:
    """The size of the base model's weights, from its listing alone."""
    place = spec.model.id
    if place.startswith("s3://"):
        store, names, _ = objects_at(place)
        sizes = {name: found.size for name in names if (found := store.head(name))}
    elif is_hub_id(place):
        sizes = {file.path: file.size for file in hub.list_files(place, sources.model)}
    else:
        sizes = {path.name: path.stat().st_size for path in Path(place).expanduser().glob("*.safetensors")}
    return sum(size for name, size in sizes.items() if name.endswith(".safetensors"))


def config_of(spec: JobSpec, pinned: Sources | None = None) -> dict[str, Any]:
    """The model's config.json, and nothing else of it. Raises NotFound, DataInvalid and those of its place."""
    place = spec.model.id
    if place.startswith("s3://"):
        found = open_store(place).get("config.json")
        text = found[0].decode() if found else None
    elif is_hub_id(place):
        commit = pinned.model if pinned else hub.commit_of(place, spec.model.revision)
        file = next((one for one in hub.list_files(place, commit) if one.path == "config.json"), None)
        with tempfile.TemporaryDirectory() as folder:
            text = hub.read_small(place, commit, file, Path(folder)) if file else None
    else:
        path = Path(place).expanduser() / "config.json"
        text = path.read_text(encoding="utf-8") if path.is_file() else None
    if text is None:
        raise NotFound(f"{place} has no config.json", hint="Is this a model's folder or repository?")
    try:
        config: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise DataInvalid(f"{place}: config.json is not JSON: {error}") from error
    return config


class Objects(NamedTuple):
    """What is at an S3 address: the objects below a prefix, or a single one, as its folder's store and its name."""

    store: Store
    names: list[str]
    single: bool


def objects_at(place: str) -> Objects:
    """Raises NotFound where there is nothing."""
    store = open_store(place)
    if names := [*store.list()]:
        return Objects(store, names, single=False)
    parent, _, name = place.rpartition("/")
    if parent != "s3:/" and name and (folder := open_store(parent)).head(name) is not None:
        return Objects(folder, [name], single=True)
    raise NotFound(f"there is nothing at {place}")
