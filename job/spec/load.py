"""Reads a spec from a file and the environment, and reports everything that is wrong with it at once.

The command line wins over the environment, the environment over the file, the file over the defaults.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from job.errors import SpecInvalid
from job.redaction import secret_values
from job.spec.ambiguous import ambiguous
from job.spec.faults import UNSET, Fault, below, fault_line, field_faults, field_names, secret_faults, value_at
from job.spec.overlay import PREFIX, Assignment, overlay
from job.spec.placeholders import placeholders, replace
from job.spec.quants import EVERY_TYPE
from job.spec.schema import Keys
from job.spec.source import HINT, read_file
from job.spec.spec import JobSpec
from job.spec.types import NO_SUCH_TYPE

MAX_FAULTS = 100


def load(
    path: Path | None, environ: Mapping[str, str], given: Sequence[Assignment] = (), *, here: bool = True
) -> JobSpec:
    """The spec of a file (None: none), of the environment and of what the command line gives. `here`: whether a name
    that may be of the Hub or of something in the current folder is refused.

    Raises SpecInvalid with every fault, one a line: `path: value -> what is wrong; what would be accepted`.
    """
    data = read_file(path) if path is not None else {}
    origins, faults = overlay(data, environ, given)
    if path is None and not origins:
        raise SpecInvalid(
            "there is no spec",
            hint=f"Name a file (`python -m job run my.yaml`, or FINETUNE_SPEC), or set {PREFIX}MODEL__ID and the like.",
        )
    secrets = list(secret_faults(data, secret_values(environ)))
    left = [Fault(keys, replace(found)) for keys, found in placeholders(data)]
    told = secrets + [one for one in left if not any(below(one.keys, secret.keys) for secret in secrets)]
    spec, wrong = _validated(data)
    told += list(ambiguous(data)) if here and spec is not None else []
    faults += told + [fault for fault in wrong if not any(below(fault.keys, one.keys) for one in told)]
    if spec is not None and not faults:
        return spec
    lines = [fault_line(fault, data, origins, environ) for fault in faults[:MAX_FAULTS]]
    more = "more than " if len(faults) > MAX_FAULTS else ""
    count = f"{more}{len(lines)} {'fault' if len(lines) == 1 else 'faults'}"
    listed = f" llama.cpp's types are {', '.join(EVERY_TYPE)}." if any(NO_SUCH_TYPE in line for line in lines) else ""
    said = "\n  ".join([f"the spec ({path or 'from the environment'}) has {count}:", *lines])
    raise SpecInvalid(said, hint=HINT + listed)


_ANY = "owner/name"
"""Stands for a place that is required."""


def _validated(data: dict[str, Any]) -> tuple[JobSpec | None, list[Fault]]:
    """The spec, or its faults: those of fields and, in what is left without them, those between fields.

    A fault between fields is reported only if none of its fields is at fault by itself.
    """
    faults: list[Fault] = []
    rest = deepcopy(data)
    while len(faults) <= MAX_FAULTS:
        try:
            spec = JobSpec.model_validate(rest)
        except ValidationError as error:
            between = [fault for one in error.errors() for fault in one.get("ctx", {}).get("faults", ())]
            if between:
                suspects = {field_names(fault.keys) for fault in faults} | {_split(fault.place) for fault in faults}
                sound = (fault for fault in between if not any(_touches(path, suspects) for path in fault.paths))
                return None, faults + [Fault(_split(fault.paths[0]), fault.message) for fault in sound]
            found = list(islice(field_faults(error, rest), MAX_FAULTS + 1))
            faults = faults or found
            for fault in found:
                _take_out(rest, fault.keys)
        else:
            return (None, faults) if faults else (spec, [])
    return None, faults


def _split(path: str) -> Keys:
    return tuple(int(part) if part.isdigit() else part for part in path.split("."))


def _touches(path: str, suspects: set[Keys]) -> bool:
    return any(below(field_names(_split(path)), suspect) for suspect in suspects)


def _take_out(data: dict[str, Any], keys: Keys) -> None:
    """Removes a faulty value (or the whole list that holds it), or replaces it if the field is required."""
    while isinstance(keys[-1], int):
        keys = keys[:-1]
    parent = value_at(data, keys[:-1])
    if parent is UNSET:
        return
    if keys[-1] not in parent:
        parent[keys[-1]] = {"id": _ANY} if keys == ("model",) else _ANY
    elif parent[keys[-1]] == _ANY and len(keys) > 1:  # a required field that is no place: what holds it goes
        _take_out(data, keys[:-1])
    else:
        del parent[keys[-1]]
