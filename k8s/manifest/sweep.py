"""A sweep: one run for each combination of values, each with its own id and its own places to publish to."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from job import strict_json
from job.artifacts import Frozen
from job.errors import SpecInvalid
from job.spec import JobSpec
from job.spec.overlay import Assignment, from_text
from k8s.errors import SettingsInvalid

PATH = r"recipe|[a-z_0-9]+(\.[a-z_0-9]+)+"
"""What a sweep may set: a field of a section, or the recipe."""
SWEEP = "--sweep"
"""The option that an Assignment of a sweep is from."""
OF_ALL = ("run.id", "run.store")
"""Fields that a sweep's runs have in common: each run's id is the sweep's and its number, and all are in one store."""
LONGEST_ID = 57
"""Characters of a sweep's id; a run's has at most 63, of which `-<index>` takes up to six."""


class Index(Frozen):
    """One run of a sweep. `changes`: the fields that it sets, by path."""

    changes: dict[str, Any]
    spec: JobSpec


def specs_of(spec: JobSpec, sweep: Sequence[Index]) -> list[JobSpec]:
    """The spec of each run: of a sweep's, none is the spec that they were made from."""
    return [one.spec for one in sweep] or [spec]


def combinations(options: Sequence[str]) -> list[dict[str, str]]:
    """`training.learning_rate=1e-4,2e-4` and the like -> each combination, as texts by path.

    Values that are JSON end where JSON ends: `lora.target_modules=["q_proj"],["q_proj","v_proj"]`.
    Raises SettingsInvalid.
    """
    axes: dict[str, list[str]] = {}
    for option in options:
        path, equals, values = option.partition("=")
        path = path.strip()
        if not equals or not re.fullmatch(PATH, path):
            raise SettingsInvalid(
                f"--sweep: {option[:80]!r} is not a list of values", hint="Write section.field=value,value."
            )
        if path in OF_ALL:
            raise SettingsInvalid(
                f"--sweep: {path} is the same for all runs of a sweep",
                hint="Each run's id is that of the sweep and its number. Set it with --set, or launch several runs.",
            )
        if path in axes:
            raise SettingsInvalid(f"--sweep: {path} is given twice", hint="Write all its values in one --sweep.")
        axes[path] = list(dict.fromkeys(_values(values)))
        if not axes[path]:
            raise SettingsInvalid(f"--sweep: {path} has no values", hint="Write section.field=value,value.")
    return [dict(zip(axes, chosen, strict=True)) for chosen in itertools.product(*axes.values())] if axes else []


_JSON = json.JSONDecoder()


def _values(text: str) -> list[str]:
    """As they are written: whether `1e5` is a number or a name is for its field to say."""
    found, at = [], 0
    try:
        while at < len(text.rstrip()):
            at += len(text[at:]) - len(text[at:].lstrip())
            _, end = _JSON.raw_decode(text, at)
            found.append(text[at:end])
            comma = re.match(r"\s*(,(?=.*\S)|\Z)", text[end:], re.S)
            if not comma:
                raise ValueError(f"no value follows {text[:end]}")
            at = end + comma.end()
    except ValueError:  # not JSON
        return [one.strip() for one in text.split(",")]
    return found


def indexes(read: Callable[[Sequence[Assignment]], JobSpec], options: Sequence[str]) -> tuple[Index, ...]:
    """Each combination as a run. `read` returns the spec with these values too (job/spec/load.py).

    Raises SpecInvalid, with the combination, and SettingsInvalid.
    """
    found: dict[str, Index] = {}
    for chosen in combinations(options):
        changes = {path: from_text(value, tuple(path.split("."))) for path, value in chosen.items()}
        same = strict_json.dumps(changes)  # 1e-4 and 0.0001
        if same in found:
            continue
        try:
            spec = read([Assignment(path, value, SWEEP) for path, value in chosen.items()])
        except SpecInvalid as error:
            said = ", ".join(f"{path}={value}" for path, value in chosen.items())
            raise SpecInvalid(f"--sweep with {said}: {error.message}", hint=error.hint) from error
        found[same] = Index(changes=changes, spec=apart(spec, len(found)))
    return tuple(found.values())


def base(read: Callable[[Sequence[Assignment]], JobSpec], options: Sequence[str]) -> JobSpec:
    """The spec without the values of the sweep, or with those of its first run if it is no spec without them: a model
    need not be named that no run has. Raises SpecInvalid."""
    try:
        return read([])
    except SpecInvalid:
        first = next(iter(combinations(options)), None)
        if first is None:
            raise
        return read([Assignment(path, value, SWEEP) for path, value in first.items()])


def apart(spec: JobSpec, number: int) -> JobSpec:
    """The spec of one index: each publishes to a place of its own. Raises SpecInvalid if the number does not fit
    behind a name."""
    data = spec.model_dump(mode="json", exclude_unset=True)
    if "publish" in data:
        data["publish"] = spec.publish.apart(number).model_dump(mode="json", exclude_unset=True)
    if identity := data.get("run", {}).get("id"):
        if len(identity) > LONGEST_ID:
            raise SpecInvalid(
                f"run.id: {identity} has {len(identity)} characters, and each run of a sweep adds its number",
                hint=f"Write at most {LONGEST_ID}.",
            )
        data["run"]["id"] = f"{identity}-{number}"
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        places = {".".join(map(str, one["loc"])) or "publish": one["msg"] for one in error.errors()}
        raise SpecInvalid(
            f"with the number of a sweep's run behind it, {'; '.join(f'{at} is {why}' for at, why in places.items())}",
            hint="Shorten it.",
        ) from error
