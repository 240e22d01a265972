"""Derives a run from its Job and pods: its state, its exit code, its times."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from job.artifacts import Frozen
from job.budget import PRICE
from k8s.manifest.base import CONTAINER

SELECTOR = "app.kubernetes.io/name=finetune-run,app.kubernetes.io/component=run"
State = Literal["queued", "suspended", "waiting", "pending", "running", "complete", "failed", "ending"]
Object = dict[str, Any]
_CODE = re.compile(r"failed with exit code (\d+)")


class Run(Frozen):
    """One run, or a sweep (`indexes` of them). `code`: the exit code that ended it, if there is one;
    `why`: the Job's message about its end."""

    name: str
    namespace: str
    state: State
    code: int | None = None
    why: str = ""
    model: str = ""
    gpu: str = ""
    store: str | None = None
    id: str
    """The run's id in its store; in a sweep each index appends its number."""
    created: str
    started: str | None = None
    ended: str | None = None
    indexes: int | None = None
    failed_indexes: str = ""
    completed_indexes: str = ""
    sweep: list[dict[str, Any]] = []
    uid: str = ""
    held_s: float | None = None
    """Seconds that its pods have run, together; those that are gone do not count. None if none is left."""
    cost: float | None = None
    """Of these, if the Job knows the price of an hour."""

    @property
    def is_over(self) -> bool:
        return self.state in ("complete", "failed")

    @property
    def ids(self) -> list[str]:
        """The id of each index of a sweep, or the single id."""
        return [f"{self.id}-{n}" for n in range(self.indexes)] if self.indexes else [self.id]

    @property
    def seconds(self) -> float | None:
        """Seconds from the first start to the end, or until now."""
        if self.started is None:
            return None
        end = time_of(self.ended) if self.ended else datetime.now(UTC)
        return (end - time_of(self.started)).total_seconds()


def run_of(job: Object, pods: Sequence[Object] = ()) -> Run:
    """The run of a Job and, if given, its pods."""
    metadata, spec, status = job["metadata"], job["spec"], job.get("status", {})
    notes = metadata.get("annotations") or {}
    over = _condition(status, "Complete") or _condition(status, "Failed")
    held_s, price = _held(pods), _price(spec["template"]["spec"])
    sweep = json.loads(notes.get("finetune-run/sweep", "[]"))
    return Run(
        name=metadata["name"],
        namespace=metadata["namespace"],
        state=_state(job, pods),
        code=_code(job, pods),
        why=_said(_condition(status, "Failed") or _condition(status, "FailureTarget")),
        model=notes.get("finetune-run/model", ""),
        gpu=notes.get("finetune-run/gpu", ""),
        store=notes.get("finetune-run/store"),
        id=notes.get("finetune-run/run") or metadata["name"],
        created=metadata["creationTimestamp"],
        started=status.get("startTime"),
        ended=status.get("completionTime") or (over["lastTransitionTime"] if over else None),
        indexes=spec.get("completions") if spec.get("completionMode") == "Indexed" else None,
        failed_indexes=status.get("failedIndexes", ""),
        completed_indexes=status.get("completedIndexes", ""),
        sweep=sweep,
        uid=metadata.get("uid", ""),
        held_s=held_s,
        cost=None if held_s is None or price is None else round(held_s / 3600 * price, 4),
    )


def _held(pods: Sequence[Object]) -> float | None:
    spans = [span for pod in pods if (span := _span(pod)) is not None]
    return round(sum(spans)) if spans else None


def _span(pod: Object) -> float | None:
    """Seconds from the start of the run's container to its end, or until now; None if it has not started."""
    states = [one.get("state", {}) for one in pod.get("status", {}).get("containerStatuses") or () if _is_ours(one)]
    for state in states:
        one = state.get("running") or state.get("terminated") or {}
        if began := one.get("startedAt"):
            end = time_of(one["finishedAt"]) if one.get("finishedAt") else datetime.now(UTC)
            return (end - time_of(began)).total_seconds()
    return None


def _is_ours(status: Object) -> bool:
    return bool(status["name"] == CONTAINER)


def _price(pod: Object) -> float | None:
    """Of an hour, as the run itself reads it (job/budget.py)."""
    variables = [one for container in pod["containers"] for one in container.get("env") or ()]
    given = [one.get("value") for one in variables if one["name"] == PRICE]
    try:
        return float(given[-1]) if given else None
    except (TypeError, ValueError):
        return None


def pods_by_run(pods: Sequence[Object]) -> dict[str, list[Object]]:
    """The pods of each Job, by its uid."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        found.setdefault(controller_of(pod), []).append(pod)
    return found


def controller_of(pod: Object) -> str:
    """The uid of the pod's Job."""
    return str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/controller-uid", ""))


def _state(job: Object, pods: Sequence[Object]) -> State:
    metadata, spec, status = job["metadata"], job["spec"], job.get("status", {})
    for kind, state in (("Complete", "complete"), ("Failed", "failed")):
        if _condition(status, kind):
            return state  # type: ignore[return-value]
    if metadata.get("deletionTimestamp") or _condition(status, "FailureTarget"):
        return "ending"
    if spec.get("suspend"):
        return "queued" if "kueue.x-k8s.io/queue-name" in (metadata.get("labels") or {}) else "suspended"
    if any(pod.get("status", {}).get("phase") == "Running" for pod in pods) or status.get("ready"):
        return "running"
    return "pending" if status.get("active") else "waiting"


def _condition(status: Object, kind: str) -> Object | None:
    return next(
        (one for one in status.get("conditions") or () if one["type"] == kind and one["status"] == "True"), None
    )


def _said(condition: Object | None) -> str:
    return ": ".join(part for part in (condition.get("reason"), condition.get("message")) if part) if condition else ""


def _code(job: Object, pods: Sequence[Object]) -> int | None:
    """0 if it is complete; else that of the pod that ended it, whose name and code are in the Job's message."""
    status = job.get("status", {})
    if _condition(status, "Complete"):
        return 0
    failed = _condition(status, "Failed")
    if failed is None:
        return None
    if found := _CODE.search(failed.get("message") or ""):
        return int(found[1])
    codes = [code for pod in pods if (code := exit_code(pod)) is not None]
    return codes[-1] if codes else None


def exit_code(pod: Object) -> int | None:
    """The exit code of the run's container, if it has ended."""
    ended = ended_container(pod)
    return int(ended["exitCode"]) if ended else None


def ended_container(pod: Object) -> Object | None:
    """The `terminated` state of the run's container, with its code, reason and message."""
    for one in pod.get("status", {}).get("containerStatuses") or ():
        if _is_ours(one):
            found: Object | None = one.get("state", {}).get("terminated")
            return found
    return None


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def last_words(cluster: Any, name: str) -> list[str]:
    """The termination message of the last pod that has one, or why it ended without one."""
    for pod in reversed(cluster.pods(name)):
        ended = ended_container(pod)
        if ended and ended.get("message"):
            return [line for line in str(ended["message"]).splitlines() if line.strip()][-20:]
        if why := why_it_ended(pod):
            return [why]
    return []


_REASONS = {
    "OOMKilled": "the container was killed for memory; raise --memory, or set a smaller batch or max_length",
    "Evicted": "the kubelet evicted the pod",
    "PreemptionByScheduler": "a pod of higher priority took its place",
    "DeletionByTaintManager": "its node was tainted: it is lost, drained or reclaimed",
    "EvictionByEvictionAPI": "the pod was evicted, as `kubectl drain` and autoscalers do",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "the kubelet ended the pod: its node shuts down or lacks resources",
    "NodeLost": "its node does not answer",
    "DeadlineExceeded": "its deadline has passed",
}
"""What Kubernetes says of a pod's end: a container's reason, a pod's, or its DisruptionTarget's
(https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions)."""


def why_it_ended(pod: Object) -> str:
    """Kubernetes' own reason for the end of a pod, in words; empty if the container ended by itself."""
    status = pod.get("status", {})
    disrupted = _condition(status, "DisruptionTarget") or {}
    ended = ended_container(pod) or {}
    found = [(one.get("reason", ""), one.get("message", "")) for one in (ended, status, disrupted)]
    for reason, message in found:
        if reason in _REASONS:
            return f"{_REASONS[reason]} ({': '.join(part for part in (reason, message) if part)})"
    return ""
