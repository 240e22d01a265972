"""What the chart reads of this package, so that both doors send the same Job: the constant part, and the placement.

For a given platform, `place()` without nodes and the chart's templates put the same terms and tolerations together
from this: for each GPU that is named its term, with the platform's spot term behind it.
"""

from typing import Any, get_args

from k8s.gpu_names import GPU_NAMES
from k8s.job_base import BASE
from k8s.nodes import Expression, Term
from k8s.platforms import GPU, Kind, Platform, spot, term, tolerations

_ANY = Expression("", "Exists")


def job_table() -> dict[str, Any]:
    """The constant part of every Job (k8s/job_base.py)."""
    return BASE


def placement_table() -> dict[str, Any]:
    """By platform: `spot` and `tolerations`, and for each GPU the requirements of a whole card. `custom` has all but
    the first requirement, which is the label that the user names."""
    return {platform: _one(platform) for platform in get_args(Platform)}


def _one(platform: Platform) -> dict[str, Any]:
    steady, on_spot = tolerations(platform, False), tolerations(platform, True)
    cards = {gpu: term(platform, gpu, Kind("whole", GPU), (_ANY,) if platform == "custom" else ()) for gpu in GPU_NAMES}
    return {
        "spot": _written(spot(platform)),
        "tolerations": [one.manifest() for one in steady],
        "spotTolerations": [one.manifest() for one in on_spot if one not in steady],
        "gpus": {gpu: _written(tuple(one for one in wanted if one != _ANY)) for gpu, wanted in cards.items() if wanted},
    }


def _written(wanted: Term) -> list[dict[str, Any]]:
    return [one.manifest() for one in wanted]
