"""Reads changed files as specs, and checks that the protected configuration allows them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from job.errors import SpecInvalid
from job.spec import JobSpec
from job.spec.load import load
from job.spec.overlay import PREFIX, Assignment, misspelt
from job.spec.places import Where, data_place, file_place, imatrix_file, model_place
from k8s.errors import LauncherError
from push import git
from push.changes import Change, Changed
from push.config import Config
from push.data import in_repository, is_allowed

MOST_BYTES = 1 << 18
_DATA = ("dataset.id", "evaluation.text.id", "evaluation.tasks.id")


def specs_of(repo: Path, change: Change, config: Config | None) -> list[tuple[Changed, JobSpec]]:
    """Every changed spec, if all are valid and allowed. Raises SpecInvalid with every fault of all of them, so that
    nothing is sent if one is wrong."""
    most = config.max_specs if config else 100
    if len(change.specs) > most:
        raise SpecInvalid(
            f"{len(change.specs)} specs have changed, but at most {most} are allowed (max_specs)",
            hint="Nothing was sent. Push fewer at a time.",
        )
    found, faults = [], []
    for one in change.specs:
        try:
            spec = spec_of(repo, one, config)
            refused = list(refusals(spec, config) if config else local_paths(spec))
        except (SpecInvalid, LauncherError) as error:
            refused = [error.message.replace(one.name, "it")]
        else:
            found.append((one, spec))
        faults += [f"{one.name}: {text}" for text in refused]
    if faults:
        raise SpecInvalid("\n".join(faults), hint="Nothing was sent. docs/spec.md lists every field.")
    return found


def spec_of(repo: Path, one: Changed, config: Config | None) -> JobSpec:
    """The spec in the commit, whatever is checked out. The environment is used only to find its secrets in a spec.
    Raises SpecInvalid, SettingsInvalid."""
    environ = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    for name, _ in list(misspelt(environ)):
        del environ[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_bytes(git.blob(repo, one.identity, MOST_BYTES))
        try:
            spec = load(path, environ, here=False)
            if config and config.store and not spec.run.store:
                spec = load(path, environ, [Assignment("run.store", config.store, "config.store")], here=False)
        except SpecInvalid as error:
            raise SpecInvalid(error.message.replace(str(path), one.name), hint=error.hint) from error
    return spec


def refusals(spec: JobSpec, config: Config) -> Iterator[str]:
    """The fields that the configuration does not allow, a sentence each."""
    private = spec.publish.hub is None or spec.publish.hub.private
    for address in spec.publish.addresses:
        yield from config.publish.refusals(address, private=private)
    if spec.run.store and spec.run.store.rstrip("/") != config.store:
        yield f"run.store: the configuration sets it ({config.store or 'a volume'}); leave it out"
    if spec.run.id:
        yield "run.id: a pushed run is named after its content; leave it out"
    for field, place, kind in _sources(spec):
        if kind == "path" and "repository" in config.sources and in_repository(place):
            if not is_allowed(place, config):
                yield f"{field}: {place} is not below a folder for data: {', '.join(config.data_folders)}"
        elif kind not in config.sources:
            yield f"{field}: {place} is not allowed; allowed sources: {', '.join(config.sources)}"


def local_paths(spec: JobSpec) -> Iterator[str]:
    """The local paths that a plan without configuration (of a fork's pull request) would open on this machine. Data of
    the repository is not among them: it is not read then."""
    for field, place, kind in _sources(spec):
        if kind == "path" and not (field in _DATA and in_repository(place)):
            yield f"{field}: {place} is a path, which only the protected configuration may allow"


def _sources(spec: JobSpec) -> Iterator[tuple[str, str, Where]]:
    """Each place that the run reads, with its field and kind."""
    for field, place in (("model.id", spec.model.id), ("model.adapter", spec.model.adapter)):
        if place:
            yield field, place, model_place(place)
    data = [("dataset.id", one.id) for one in spec.datasets]
    judged = {"text": spec.evaluation.text, "tasks": spec.evaluation.tasks}
    data += [(f"evaluation.{name}.id", one.id) for name, one in judged.items() if one]
    data += [("evaluation.tasks.id", spec.evaluation.tasks.id)] if spec.evaluation.tasks else []
    for field, place in data:
        yield field, place, data_place(place)
    if matrix := imatrix_file(spec.export.imatrix):
        yield "export.imatrix", matrix, file_place(matrix)
