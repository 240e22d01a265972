"""Reads and checks what the command line asks for, as far as that goes without a cluster."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from job import __version__
from job.predict.anatomy import Anatomy
from job.predict.cases_here import Cases, cases_here
from job.predict.gpus import GPUS
from job.predict.row_lengths import RowLengths
from job.predict.rows_here import rows_here
from job.spec import JobSpec
from job.spec.load import load
from job.spec.overlay import Assignment, assignments
from job.spec.unused import unused
from k8s.budget import UNLIMITED, Allowed
from k8s.errors import SettingsInvalid
from k8s.inputs.along import Along
from k8s.manifest.settings import Settings
from k8s.manifest.sweep import SWEEP, Index, base, indexes, specs_of
from k8s.model import least_vram, models_of, notes_on, rehearse
from k8s.placement.wish import Wish, cards_of

LOCAL_IMAGE = f"finetune-run:{__version__}"
"""What is on a node without a registry, and what is planned with."""


Bring = Callable[[Sequence[JobSpec], Mapping[str, Any], Sequence[bool]], Along]
"""Says what of this machine goes along with runs that have these settings; whether each one's model can be read from
here."""


class Asked(NamedTuple):
    """What the command line asks for, checked as far as that goes without a cluster. `spec` and `sweep`: as they are
    sent; `along`: what goes along; `rows`, `cases` and `models`: of each run, a model's sizes None if they are not
    known; `vram`: bytes on the GPU while training, of the run that needs most, None if not known; `resources` and
    `settings`: what was given of them."""

    spec: JobSpec
    sweep: tuple[Index, ...]
    along: Along
    rows: tuple[RowLengths | None, ...]
    cases: tuple[Cases, ...]
    wish: Wish
    models: tuple[Anatomy | None, ...]
    notes: tuple[str, ...]
    vram: int | None
    resources: dict[str, Any]
    settings: dict[str, Any]
    budget: Allowed


def image_of(named: str | None, pull_policy: str) -> str:
    """The image to run. Raises SettingsInvalid if none is named: only a node that never pulls has one without."""
    if named or pull_policy == "Never":
        return named or LOCAL_IMAGE
    raise SettingsInvalid(
        "no image is named",
        hint="Push it to a registry that the cluster can pull from (docs/image.md), and name it with --image or "
        "FINETUNE_IMAGE. If each node has it already, use --pull-policy Never.",
    )


def spec_from(path: Path | None, model: str | None, dataset: str | None, sets: Sequence[str]) -> Any:
    """A function that reads the spec: file, then the environment, then flags, then those of a sweep. Raises
    UsageInvalid."""
    given = assignments(sets)
    for name, value in (("model", model), ("dataset", dataset)):
        if value is not None:
            if any(one.path == f"{name}.id" and one.value != value for one in given):
                raise SettingsInvalid(f"{name}.id is set by --set and by --{name}", hint="Leave one of the two out.")
            given.append(Assignment(f"{name}.id", value, f"--{name}"))

    def read(more: Sequence[Assignment]) -> JobSpec:
        for one in more:
            if one.option == SWEEP and (both := [other.option for other in given if other.path == one.path]):
                raise SettingsInvalid(
                    f"{one.path} is set by {both[-1]} and by {SWEEP}", hint="Leave one of the two out."
                )
        return load(path, os.environ, [*given, *more])

    return read


def pairs(options: Sequence[str], flag: str) -> dict[str, str]:
    """`NAME=value` options as a dict. Raises SettingsInvalid, also for two values of a name."""
    found: dict[str, str] = {}
    for one in options:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise SettingsInvalid(f"{flag}: {one[:40]!r} has no value", hint=f"Write {flag} NAME=value.")
        if found.get(name, value) != value:
            raise SettingsInvalid(f"{flag}: {name} is given twice", hint="Leave one of the two out.")
        found[name] = value
    return found


def ask(
    wish_of: Callable[[int | None], Wish],
    read: Callable[[Sequence[Assignment]], JobSpec],
    *,
    sweeps: Sequence[str] = (),
    resources: Mapping[str, Any] = {},
    budget: Allowed = UNLIMITED,
    bring: Bring = lambda *_: Along(looked=False),
    rehearses: bool = False,
    **settings: Any,
) -> Asked:
    """Checks everything that can be checked without a cluster: a wrong option is named before a missing cluster.

    `wish_of(needs)` gives the Wish; `resources` replaces single figures of the prediction; `bring` says what of this
    machine goes along; `rehearses`: take the model's way through a run too, if the job's extra is installed. Raises
    SettingsInvalid, GpuUnavailable if the run does not fit on any card that is named, and SpecInvalid, DataInvalid and
    IntegrityViolated for what the job would refuse.
    """
    cards = cards_of(wish_of(None))
    settings["image"] = image_of(settings.get("image"), settings.get("pull_policy", ""))
    Settings.of(**{"name": "unnamed", "resources": dict(resources)} | settings)
    spec = base(read, sweeps)
    sweep = indexes(read, sweeps)
    specs = specs_of(spec, sweep)
    seen = models_of(specs)
    models = tuple(one.model for one in seen)
    notes = notes_on(seen, wish_of(None), resources)
    notes += dict.fromkeys(sentence for one in specs for sentence in unused(one))
    if rehearses:
        notes += rehearse([one for one, of in zip(specs, seen, strict=True) if of.config is not None])
    vram = least_vram(specs, models, [GPUS[name] for name in cards if name in GPUS])
    wish = wish_of(vram)
    cards_of(wish)
    rows = tuple(rows_here(one) if model else None for one, model in zip(specs, models, strict=True))
    cases = tuple(map(cases_here, specs))
    found = bring(specs, settings, [one.config is not None for one in seen])
    return Asked(
        found.spec(spec),
        found.sweep(sweep),
        found,
        rows,
        cases,
        wish,
        models,
        tuple(notes),
        vram,
        dict(resources),
        settings,
        budget,
    )
