"""`python -m job check`: what can be seen of a valid spec on this disk, without a network."""

from collections.abc import Callable, Container, Iterator
from pathlib import Path

from job.artifacts import json_object
from job.dataset import find_source
from job.dataset.running_text import check_text
from job.dataset.scan import Scanned, scan
from job.errors import DataInvalid, JobError, NotFound
from job.fetch import safety, template
from job.fetch.listing import Listing
from job.fetch.weights import weight_files
from job.llama_cpp.imatrix import check_own
from job.spec import JobSpec
from job.spec.places import data_place, file_place, imatrix_file, model_place
from job.spec.precision import FLOAT16_OVERFLOWS, families_of
from job.spec.sections import Dataset
from job.tasks.cases import cases_of


def seen_here(spec: JobSpec) -> Iterator[str]:
    """A line on each file and folder that the spec names, and on each name that is not here.

    Raises the error that a run would end with; of several, one that has the code of the first and says all.
    """
    yield from look_at(spec)
    remote = [one for one in (spec.model.id, spec.model.adapter) if one and model_place(one) != "path"]
    remote += [one.id for one in _texts_and_rows(spec) if data_place(one.id) != "path"]
    if remote:
        yield f"not looked at: {', '.join(dict.fromkeys(remote))}; --access asks whether they can be read"


def look_at(spec: JobSpec, places: Container[str] | None = None) -> Iterator[str]:
    """The same of files and folders only. `places`: of these alone."""
    faults: list[JobError] = []
    for place, look in _looks(spec):
        if places is not None and place not in places:
            continue
        try:
            yield from look()
        except JobError as error:
            faults.append(error)
    if faults:
        told = dict.fromkeys(map(str, faults))  # what a data set lacks, more than one look may meet
        raise faults[0] if len(told) == 1 else type(faults[0])("\n".join(told))


def _looks(spec: JobSpec) -> Iterator[tuple[str, Callable[[], Iterator[str]]]]:
    """What to look at, by place."""
    trains = spec.training is not None
    for place, is_adapter in ((spec.model.id, False), (spec.model.adapter, True)):
        if place and model_place(place) == "path":
            yield place, lambda place=place, is_adapter=is_adapter: _model(place, is_adapter, trains)  # type: ignore[misc]
    for one in spec.datasets:
        if data_place(one.id) == "path":
            yield one.id, lambda one=one: _rows(one, spec.chat.system)  # type: ignore[misc]
    yield from ((one.id, lambda: template.described_here(spec)) for one in spec.datasets[:1])
    text = spec.evaluation.text
    if text and spec.evaluation.judge and data_place(text.id) == "path":
        yield text.id, lambda: _text(text.dataset)
    tasks = spec.evaluation.tasks
    if tasks and data_place(tasks.id) == "path":
        yield tasks.id, lambda: _cases(tasks.dataset)
    matrix = imatrix_file(spec.export.imatrix)
    if matrix and file_place(matrix) == "path":
        yield matrix, lambda: _imatrix(Path(matrix).expanduser())


def _texts_and_rows(spec: JobSpec) -> list[Dataset]:
    text, tasks = spec.evaluation.text, spec.evaluation.tasks
    found = [*spec.datasets, *([text.dataset] if text and spec.evaluation.judge else [])]
    return [*found, *([tasks.dataset] if tasks else [])]


def _model(place: str, is_adapter: bool, trains: bool) -> Iterator[str]:
    folder = Path(place).expanduser()
    what = "adapter" if is_adapter else "model"
    if not folder.is_dir():
        raise NotFound(
            f"model.{'adapter' if is_adapter else 'id'}: the folder {place} does not exist",
            hint=f"Name the folder of {'an adapter' if is_adapter else 'a model'}; a Hub id is written owner/name.",
        )
    safety.check_folder(folder, place, adapter=is_adapter)
    found = Listing.of(folder)
    size = sum(found.size(name) for name in weight_files(found, adapter=is_adapter))
    yield f"{place}: {what} of {size / 1e9:.2f} GB"
    if trains and not is_adapter and (folder / "config.json").is_file():
        yield from _too_large_for_float16(folder)


def _too_large_for_float16(folder: Path) -> Iterator[str]:
    config = json_object((folder / "config.json").read_text(encoding="utf-8"), "config.json")
    for family in sorted(families_of(config) & FLOAT16_OVERFLOWS.keys())[:1]:
        yield f"{family} overflows in float16: on a GPU below compute capability 8.0 (a T4) it is computed in float32"


def _rows(dataset: Dataset, system: str | None) -> Iterator[str]:
    found = scan(find_source(dataset, Path(dataset.id).expanduser()), system)
    yield f"{dataset.id}: {_told(found)}"
    if found.left_out:
        yield found.left_out


def _told(found: Scanned) -> str:
    rows = f"{found.rows} {'row' if found.rows == 1 else 'rows'}{'' if found.whole else ' read, and there are more'}"
    if not found.broken:
        return rows
    more = f"; and {found.broken - len(found.first)} more" if found.broken > len(found.first) else ""
    return f"{rows}; {found.broken} broken: {'; '.join(found.first)}{more}"


def _text(dataset: Dataset) -> Iterator[str]:
    check_text(dataset, Path(dataset.id).expanduser())
    yield f"{dataset.id}: readable"


def _cases(dataset: Dataset) -> Iterator[str]:
    count = sum(1 for _ in cases_of(dataset, Path(dataset.id).expanduser()))
    if not count:
        raise DataInvalid(f"evaluation.tasks: {dataset.id} contains no cases")
    yield f"{dataset.id}: {count} {'case' if count == 1 else 'cases'}"


def _imatrix(path: Path) -> Iterator[str]:
    check_own(path)
    yield f"{path}: an importance matrix"
