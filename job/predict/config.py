"""The sizes of a spec's model, from its config.json and, for a family that nothing is known of, from the headers of its
weights."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from job.artifacts import json_object
from job.errors import JobError, NotFound, SpecInvalid
from job.predict.anatomy import Anatomy, anatomy_of
from job.predict.counted import counted
from job.predict.model_here import ModelHere
from job.safetensors_files import Tensor
from job.spec import JobSpec
from job.spec.places import model_place


class Seen(NamedTuple):
    """What can be seen of a model here. `why`: what is not known, and why; or how the sizes are known, if it is no
    family's own formulas."""

    config: dict[str, Any] | None
    model: Anatomy | None
    why: str


def config_of(spec: JobSpec, commit: str) -> dict[str, Any]:
    """The config.json; of a model on the Hub, that of `commit`. Raises NotFound, DataInvalid and the errors of its
    place."""
    on_hub = model_place(spec.model.id) == "hub"
    return _parsed(
        _from_commit(spec.model.id, commit) if on_hub else ModelHere(spec.model.id).text("config.json"), spec
    )


def sizes_of(config: Mapping[str, Any], name: str, tensors: Callable[[], Mapping[str, Tensor]]) -> Anatomy:
    """By the formulas of its family, else counted from its tensors, which are only then asked for. Raises SpecInvalid,
    and what `tensors` raises."""
    try:
        return anatomy_of(config, name)
    except SpecInvalid:
        return counted(tensors(), config, name)


def seen_here(spec: JobSpec) -> Seen:
    """Never raises, and never waits long."""
    place, config = ModelHere(spec.model.id, spec.model.revision), None
    try:
        config = _parsed(place.text("config.json"), spec)
        model = sizes_of(config, spec.model.id, place.tensors)
    except (JobError, OSError) as error:
        said = error.message if isinstance(error, JobError) else str(error)
        return Seen(config, None, f"no prediction for {spec.model.id}: {said}; the job checks this before it trains")
    kind = config.get("model_type")
    told = f"{spec.model.id} is of the type {kind}, which no formulas are known of: its sizes are {model.how}"
    return Seen(config, model, f"{told}, and no need is taken to be smaller" if model.how else "")


def anatomy_here(spec: JobSpec) -> tuple[Anatomy | None, str]:
    """The sizes, or None; and what `Seen.why` is."""
    found = seen_here(spec)
    return found.model, found.why


def _parsed(text: str | None, spec: JobSpec) -> dict[str, Any]:
    if text is None:
        raise NotFound(f"{spec.model.id} has no config.json", hint="Name a model's folder or repository.")
    return json_object(text, f"{spec.model.id}: config.json")


def _from_commit(place: str, commit: str) -> str | None:
    from job import hub

    file = next((one for one in hub.list_files(place, commit) if one.path == "config.json"), None)
    with tempfile.TemporaryDirectory() as folder:
        return hub.read_small(place, commit, file, Path(folder)) if file else None
