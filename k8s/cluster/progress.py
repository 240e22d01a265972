"""What a run is doing, from the last lines of its pod's log."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from job.artifacts import Frozen
from k8s.cluster.client import Cluster
from k8s.cluster.runs import Run, controller_of
from k8s.errors import LauncherError
from k8s.manifest.base import CONTAINER

Object = dict[str, Any]
TAIL = 50
"""Lines of a log that are read. A heartbeat comes every few seconds, and names the stage."""
AT_ONCE = 16


class Progress(Frozen):
    """The stage at work, how far it is (in `unit`), the seconds that it has left, and the last loss of a training."""

    stage: str = ""
    done: float | None = None
    total: float | None = None
    unit: str = ""
    loss: float | None = None
    left_s: float | None = None


def progress_of(lines: Iterable[bytes]) -> Progress | None:
    """What the last events of a log say; None if there is none."""
    found: Progress | None = None
    for line in lines:
        event = _event(line)
        if event is None:
            continue
        if (stage := event.get("stage")) and (found is None or found.stage != stage):
            found = Progress(stage=str(stage))
        if found is not None and (said := _said(event)):
            found = found.model_copy(update=said)
    return found


def _said(event: Object) -> dict[str, Any]:
    """How far it is, as far as an event says it."""
    found = {"total": event.get("total"), "left_s": event.get("eta_s")}
    if event.get("event") == "train.log":
        found |= {"done": event.get("step"), "loss": event.get("loss")}
    elif event.get("event") == "progress" and event.get("total"):
        found |= {"done": event.get("done")}
    else:
        return {}
    numbers = {key: value for key, value in found.items() if isinstance(value, int | float)}
    return numbers | {"unit": str(event.get("unit") or "steps")}


def _event(line: bytes) -> Object | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def progress_by_run(cluster: Cluster, runs: Sequence[Run], pods: Sequence[Object]) -> dict[str, Progress]:
    """By the uid of each run that is at work; without those whose log this user cannot read."""
    newest = {controller_of(pod): pod for pod in pods if pod.get("status", {}).get("phase") == "Running"}
    wanted = [(run.uid, newest[run.uid]) for run in runs if run.uid in newest and not run.is_over]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda one: (one[0], _progress(cluster, one[1])), wanted)
        return {uid: progress for uid, progress in found if progress}


def _progress(cluster: Cluster, pod: Object) -> Progress | None:
    metadata = pod["metadata"]
    try:
        lines = list(cluster.last_lines(metadata["name"], CONTAINER, TAIL, namespace=metadata["namespace"]))
    except LauncherError:
        return None
    return progress_of(lines)
