"""Pins the spec's names: to a commit on the Hub, or to the state of a folder, a file or an S3 prefix."""

from pathlib import Path
from urllib.parse import urlsplit

from job import hub, network
from job.artifacts import Frozen, digest_of
from job.errors import NotFound
from job.fetch import https, safety
from job.fetch.adapter_base import compare_base
from job.fetch.inputs import check_there
from job.fetch.listing import Listing
from job.fetch.objects import objects_at
from job.fetch.weights import weight_files
from job.logs import log
from job.safetensors_files import Tensor, listed
from job.spec import JobSpec
from job.spec.places import STORES, address_pin, content_digest, data_place, file_place, imatrix_file, model_place
from job.spec.sections import Dataset


class Sources(Frozen):
    """What the spec's names are pinned to: commits on the Hub; elsewhere a digest of names, sizes and times or tags; of
    an address on the web also what its server says of the content."""

    model: str
    adapter: str | None = None
    datasets: list[str] = []
    text: str | None = None
    """Of `evaluation.text`."""
    tasks: str | None = None
    """Of `evaluation.tasks`."""
    imatrix: str | None = None
    """Of the file that `export.imatrix` names."""


def resolve(spec: JobSpec) -> Sources:
    """Pins every name, checks that it can be read, and refuses unsafe repositories by their listing."""
    found = resolve_model(spec)
    text = spec.evaluation.text if spec.evaluation.judge else None
    tasks = spec.evaluation.tasks
    matrix = imatrix_file(spec.export.imatrix)
    return Sources(
        model=found.model,
        adapter=found.adapter,
        datasets=[_pin_data(one) for one in spec.datasets],
        text=_pin_data(text.dataset) if text else None,
        tasks=_pin_data(tasks.dataset) if tasks else None,
        imatrix=fingerprint(matrix) if matrix else None,  # it is used after the training, and is missed now
    )


def resolve_model(spec: JobSpec) -> Sources:
    """The same for the model and the adapter alone."""
    model = spec.model
    adapter = None
    if model.adapter:
        adapter = _pin_model(model.adapter, "main", adapter=True)
    pinned = _pin_model(model.id, model.revision, trained=spec.training is not None)
    if model.adapter and adapter:
        compare_base(Listing(model.adapter, adapter), Listing(model.id, pinned))
    return Sources(model=pinned, adapter=adapter)


def _pin_model(place: str, revision: str, *, adapter: bool = False, trained: bool = True) -> str:
    """Pins a model or an adapter, after refusing by its listing and its small files what cannot be used."""
    on_hub = model_place(place) == "hub"
    pin = hub.commit_of(place, revision) if on_hub else fingerprint(place)
    if on_hub:
        hub.may_read(place)
    found = Listing(place, pin)
    safety.check_names(found.names, place)
    weight_files(found, adapter=adapter)
    safety.check_configs(found, adapter=adapter, trained=trained)
    if on_hub:
        log.info("fetch.pinned", repo=place, revision=revision, commit=pin)
    return pin


def _pin_data(one: Dataset) -> str:
    where = data_place(one.id)
    if where != "hub":
        if where == "https":
            network.check_host(urlsplit(one.id).hostname or "")
            return address_pin(one.id, https.state_of(one.id))
        return fingerprint(one.id)
    commit = hub.commit_of(one.id, one.revision, "dataset")
    hub.may_read(one.id, "dataset")
    log.info("fetch.pinned", repo=one.id, revision=one.revision, commit=commit)
    return commit


def fingerprint(place: str) -> str:
    """A digest that changes when a folder, a file or an S3 prefix does: names with sizes and times, or tags; of what
    came along with the run, its own.

    Raises NotFound if there is nothing at a place.
    """
    if digest := content_digest(place):
        check_there(place)
        return digest
    if model_place(place) in STORES:
        store, names, _ = objects_at(place)
        return digest_of([(name, store.head(name)) for name in names])
    path = Path(place).expanduser()
    if not path.exists():
        raise NotFound(f"{path} does not exist", hint="Correct the path; a Hub id is written owner/name.")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file.relative_to(path)), file.stat()) for file in files if file.is_file()]
    return digest_of([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


def local_state(spec: JobSpec, *, text: bool = True) -> dict[str, str]:
    """The fingerprints of local sources: part of the run's identity, since their contents can change. `text`: include
    those of `evaluation.text`, `evaluation.tasks` and `export.imatrix`.

    Raises NotFound if there is nothing at a place.
    """
    data = [one.id for one in spec.datasets]
    if text and spec.evaluation.text and spec.evaluation.judge:
        data.append(spec.evaluation.text.id)
    if text and spec.evaluation.tasks:
        data.append(spec.evaluation.tasks.id)
    found = model_state(spec) | {place: fingerprint(place) for place in data if data_place(place) == "path"}
    matrix = imatrix_file(spec.export.imatrix)
    if text and matrix and file_place(matrix) == "path":
        found[matrix] = fingerprint(matrix)
    return found


def model_state(spec: JobSpec) -> dict[str, str]:
    """The same of the model and the adapter alone."""
    places = [place for place in (spec.model.id, spec.model.adapter) if place]
    return {place: fingerprint(place) for place in places if model_place(place) == "path"}


def changed(spec: JobSpec, pinned: Sources) -> list[str]:
    """The files and folders of this machine that hold something else than when they were pinned, as far as they are
    still there."""
    before = {spec.model.id: pinned.model, spec.model.adapter: pinned.adapter, spec.export.imatrix: pinned.imatrix}
    before |= dict(zip((one.id for one in spec.datasets), pinned.datasets, strict=False))
    judged = ((spec.evaluation.text, pinned.text), (spec.evaluation.tasks, pinned.tasks))
    before |= {one.id: pin for one, pin in judged if one}
    try:
        return [place for place, state in local_state(spec).items() if before.get(place) not in (None, state)]
    except NotFound:
        return []


def model_bytes(spec: JobSpec, sources: Sources) -> int:
    """The size of the base model's weights, from its listing alone."""
    found = Listing(spec.model.id, sources.model)
    return sum(found.size(name) for name in weight_files(found))


def model_tensors(spec: JobSpec, sources: Sources) -> dict[str, Tensor]:
    """What the headers of the base model's weights list. Raises IntegrityViolated for one that is damaged."""
    found = Listing(spec.model.id, sources.model)
    names = [name for name in weight_files(found) if name.endswith(".safetensors")]
    return listed(names, found.start_of, found.shown)
