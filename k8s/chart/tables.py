"""The tables that the chart reads, so that both entry points send the same Job: the constant part, and the placement.

For given platforms, `place()` without nodes and the chart's templates build the same terms and tolerations from this:
for each platform and GPU, its term, followed by the requirements of a whole card and the platform's spot term.
"""

from typing import Any

from job.redaction import NOT_SECRET_NAMES, PLAIN_NAMES, PLAIN_SHAPES
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.kinds import GPU, MIG_GPU, SHARED_GPU, Kind
from k8s.placement.nodes import Expression, Term
from k8s.placement.placement import Placement
from k8s.placement.platforms import PLATFORMS, PlatformName

PROFILE = "PROFILE"
"""Placeholder for the MIG profile."""
_ANY = Expression("", "Exists")
KINDS: dict[str, tuple[Kind, ...]] = {
    "whole": (Kind("whole", GPU),),
    "shared": (Kind("shared", SHARED_GPU), Kind("shared", GPU)),
    "mig": (Kind("mig", f"{MIG_GPU}{PROFILE}", PROFILE), Kind("mig", GPU, PROFILE)),
    "sharedSingle": (Kind("shared", GPU),),
    "migSingle": (Kind("mig", GPU, PROFILE),),
}
"""What the chart can request: the first kind that the platform offers; `…Single`: under the name of whole cards."""


def job_table() -> dict[str, Any]:
    """The constant part of every Job (k8s/manifest/base.py), and what its variables must not be."""
    own = {one["name"]: None for key in ("singleEnv", "sweepEnv") for one in BASE[key]}
    secrets = {"names": PLAIN_NAMES, "notNames": NOT_SECRET_NAMES, "shapes": PLAIN_SHAPES}
    return BASE | {"refused": {"env": list(own), **secrets}}


def placement_table() -> dict[str, Any]:
    """By platform: `whole`, added to every term for a whole card, and `driver`, to every term; `spot`, `tolerations`,
    `spotTolerations`; `spotRefuses`, annotations; `resources` of each kind, and of each GPU and kind the requirements.
    With `custom`, the user's label comes first.
    """
    return {"platforms": {platform: _one(platform) for platform in PLATFORMS}}


def _one(platform: PlatformName) -> dict[str, Any]:
    one = PLATFORMS[platform]
    steady, on_spot = one.tolerations(False), one.tolerations(True)
    gpus = {gpu: found for gpu in GPU_NAMES if (found := _terms(platform, gpu))}
    resources = {name: kind.resource for name in KINDS for gpu in gpus if (kind := _kind(platform, gpu, name))}
    return {
        "whole": _written(one.whole()),
        "driver": _written(one.driver()),
        "spot": _written(one.spot()),
        "tolerations": [one.manifest() for one in steady],
        "spotTolerations": [one.manifest() for one in on_spot if one not in steady],
        "spotRefuses": list(one.refused_annotations(True)),
        "resources": resources,
        "gpus": gpus,
    }


def _kind(platform: PlatformName, gpu: str, name: str) -> Kind | None:
    """The first kind that the platform offers; None for slices of a card that has none."""
    if name.startswith("mig") and not GPU_NAMES[gpu].mig:
        return None
    return next((kind for kind in KINDS[name] if PLATFORMS[platform].term(gpu, kind, _named(platform))), None)


def _terms(platform: PlatformName, gpu: str) -> dict[str, Any]:
    found = {}
    for name in KINDS:
        if kind := _kind(platform, gpu, name):
            wanted = PLATFORMS[platform].term(gpu, kind, _named(platform))
            apart = (_ANY, *PLATFORMS[platform].whole())
            found[name] = _written(tuple(one for one in wanted if one not in apart))
    return found


def _named(platform: PlatformName) -> Term:
    return (_ANY,) if platform == "custom" else ()


def _written(wanted: Term) -> list[dict[str, Any]]:
    return [one.manifest() for one in wanted]


def placement_values(placement: Placement) -> dict[str, Any]:
    """The chart's values for the same terms, tolerations and resource. Raises SettingsInvalid for a card that is not in
    the chart's table."""
    if placement.seen:
        raise SettingsInvalid(
            f"--emit values: the chart does not know {', '.join(placement.seen)}",
            hint=f"Name known cards: {', '.join(GPU_NAMES)}; or send it with `launch`, or what --dry-run prints.",
        )
    known = [one for platform in placement.platforms for one in PLATFORMS[platform].tolerations(placement.on_spot)]
    more = [one.manifest() for one in placement.tolerations if one not in known]
    found: dict[str, Any] = {"gpu": _one_or_all(placement.gpus) or "none"}
    if placement.platforms:
        found["platform"] = _one_or_all(placement.platforms)
    if placement.label:
        found["gpuLabel"] = placement.label
    if placement.on_spot:
        found["spot"] = True
    if placement.kind and placement.kind.what != "whole":
        what, resource, profile = placement.kind
        found |= {"mig": profile} if what == "mig" else {"shared": True}
        found |= {"singleStrategy": True} if resource == GPU else {}
    return found | ({"tolerations": more} if more else {})


def _one_or_all(names: tuple[str, ...]) -> Any:
    return names[0] if len(names) == 1 else list(names)
