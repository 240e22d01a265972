"""A pod that cannot pull its image: nothing ends it before the Job's deadline, and meanwhile it holds its node."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from k8s.cluster.runs import time_of
from k8s.cluster.waiting import with_hint
from k8s.errors import ImageUnavailable
from k8s.manifest.base import CONTAINER

Object = dict[str, Any]
PATIENCE_S = 15 * 60.0
"""Seconds in which a registry may come back: kubelets try again every five minutes at the latest."""
NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError")
"""Reasons of a waiting container (kubernetes/pkg/kubelet/images)."""


def check_image(run: str, pods: Sequence[Object], said: Sequence[Object]) -> None:
    """Raises ImageUnavailable if pods of a run have waited for their image for PATIENCE_S, and none runs. `said`: the
    events about the newest pod."""
    if any(pod["status"].get("phase") == "Running" for pod in pods):
        return
    for pod in pods[-1:]:
        container: Object = next((one for one in pod["spec"]["containers"] if one["name"] == CONTAINER), {})
        seconds = (datetime.now(UTC) - _since(pod, said)).total_seconds()
        if (why := _not_pulled(pod)) and seconds > PATIENCE_S:
            raise ImageUnavailable(
                f"{pod['metadata']['name']} on node {pod['spec'].get('nodeName')} has not been able to pull "
                f"{container.get('image')} for {seconds / 60:.0f} minutes: {with_hint(why)}",
                hint=f"It holds its node until its deadline: `finetune-run cancel {run}` ends it.",
            )


def _not_pulled(pod: Object) -> str:
    """Why the container waits for its image; empty if it does not."""
    for one in pod["status"].get("containerStatuses") or ():
        waiting = one.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in NOT_PULLED:
            return str(waiting.get("message") or waiting["reason"])
    return ""


def _since(pod: Object, said: Sequence[Object]) -> datetime:
    """The first failure that the kubelet told of; else when the pod got its node."""
    failed = [one.get("firstTimestamp") or one.get("eventTime") for one in said if one.get("reason") == "Failed"]
    scheduled = (one for one in pod["status"].get("conditions") or () if one["type"] == "PodScheduled")
    times = [one for one in failed if one] or [one["lastTransitionTime"] for one in scheduled]
    return min(map(time_of, [*times, *([] if times else [pod["metadata"]["creationTimestamp"]])]))
