"""What each stage took, beside what was estimated when the run began."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from job.report.basis import Records
from job.report.plots import stage_bands
from job.run.usage import Usage


class Time(NamedTuple):
    """Seconds. `likely` and `most`: see job/predict/timing.py; None if unknown, or if nothing was estimated."""

    stage: str
    likely: float | None
    most: float | None
    took: int | None


def took(usage: Iterable[Usage]) -> dict[str, int]:
    """Seconds by stage, over all attempts, to the second."""
    found: Counter[str] = Counter()
    for attempt in usage:
        for stage, begin, end in stage_bands(attempt):
            found[stage] += round(end - begin)
    return dict(found)


def cost_of(records: Records) -> str:
    """What a run has cost until it published, in a sentence; empty if no price is known."""
    if "cost" not in records:
        return ""
    known = records["cost"].metrics
    attempts = "one attempt" if known["attempts"] == 1 else f"{known['attempts']} attempts"
    hours = f"{known['seconds'] / 3600:.2f} hours in {attempts}"
    return f"Cost: {known['cost']:.2f} ({hours}, at {known['price_per_hour']:g} an hour)."


def times(records: Records, usage: Iterable[Usage]) -> list[Time]:
    """The stages that took a second or were estimated, in their order."""
    seconds = took(usage)
    known = records["estimate"].metrics if "estimate" in records else {}
    stages = dict.fromkeys([*known, *(stage for stage, count in seconds.items() if count)])

    def time(stage: str) -> Time:
        estimate = known.get(stage, {})
        return Time(stage, estimate.get("likely"), estimate.get("most"), seconds.get(stage) or None)

    return list(map(time, stages))
