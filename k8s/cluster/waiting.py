"""A Job, its pods and what the cluster says of them -> why nothing happens yet, in words."""

import re
from collections.abc import Sequence
from typing import Any

from k8s.cluster.runs import ended_container, run_of

Object = dict[str, Any]
_WAITING = {
    "ImagePullBackOff": "the image cannot be pulled",
    "ErrImagePull": "the image cannot be pulled",
    "InvalidImageName": "the image's name is wrong",
    "CreateContainerConfigError": "the container cannot be made",
    "CreateContainerError": "the container cannot be made",
    "RunContainerError": "the container cannot be started",
}
_HINTS = (
    (r"secret \"?([\w.-]+)\"? not found", "Create the Secret {0} in this namespace."),
    (r"couldn't find key (\S+) in Secret", "The Secret lacks the key {0}."),
    (r"ErrImageNeverPull|not present with pull policy", "The image is not on the node, and may not be pulled."),
    (r"unauthorized|authorization failed|403 Forbidden", "Does the node have a pull secret for it? (--pull-secret)"),
    (r"not found|manifest unknown", "Is the image's name right, and was it pushed?"),
    (r"persistentvolumeclaim \"?([\w.-]+)\"? not found", "Create the PersistentVolumeClaim {0} in this namespace."),
)
_PREEMPTION = re.compile(r"(\.? no new claims to deallocate,)? preemption:.*$", re.S)
"""The scheduler repeats itself there."""
_SCALING = {
    "TriggeredScaleUp": "an autoscaler is adding a node",
    "Nominated": "an autoscaler is adding a node",
    "NotTriggerScaleUp": "no autoscaler can add a node that would do",
}


def waiting_for(job: Object, pods: Sequence[Object], said: Sequence[Object]) -> list[str]:
    """What a run that is not running waits for; nothing where it runs. `said`: events of the Job and its newest pod.

    One sentence each, the most telling first.
    """
    run = run_of(job, pods)
    if run.is_over or run.state == "running":
        return []
    if run.state == "queued":
        queue = job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        return [f"waiting for Kueue to admit it (queue {queue})", *_last(said, "Pending", "QuotaReserved")]
    if run.state == "suspended":
        return [f"suspended; `finetune-run resume {run.name}` lets it go on"]
    if run.state == "ending":
        return ["its pods are being ended"]
    alive = [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Unknown", None)]
    if not alive:
        refused = _last(said, "FailedCreate")
        return [f"its pod is refused: {refused[0]}"] if refused else _between(pods)
    return waiting_for_pod(alive[-1], said)


def _between(pods: Sequence[Object]) -> list[str]:
    """Between two pods: the Job controller waits longer after each end, up to ten minutes."""
    if not pods:
        return ["waiting for its pod to be made"]
    ended = ended_container(pods[-1])
    how = f" after exit code {ended['exitCode']}" if ended else ""
    return [f"waiting for a new pod{how}; the pauses grow from 10 seconds to 10 minutes"]


def waiting_for_pod(pod: Object, said: Sequence[Object]) -> list[str]:
    """Why a pod does not run yet. `said`: the events about it."""
    status = pod["status"]
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting") or {}
        if what := _WAITING.get(waiting.get("reason", "")):
            return [with_hint(f"{what}: {waiting.get('message') or waiting['reason']}")]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        why = _PREEMPTION.sub("", scheduled.get("message") or scheduled.get("reason", ""))
        found = [f"no node for it yet: {why}"]
        events = {one.get("reason"): one for one in said}
        return found + [text for reason, text in _SCALING.items() if reason in events]
    where = f" on {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else ""
    if failed := _last(said, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
        return [with_hint(f"its pod cannot start{where}: {failed[0]}")]
    pulling = any(one.get("reason") == "Pulling" for one in said) and not any(
        one.get("reason") == "Pulled" for one in said
    )
    return [f"pulling the image{where}; the first time takes minutes" if pulling else f"starting{where}"]


def _last(said: Sequence[Object], *reasons: str) -> list[str]:
    found = [one.get("message", "") for one in said if one.get("reason") in reasons]
    return [with_hint(found[-1])] if found else []


def with_hint(text: str) -> str:
    """What the cluster says, and what to do about it, where that is known."""
    text = re.sub(r"\s+", " ", text).strip()
    for pattern, advice in _HINTS:
        if found := re.search(pattern, text, re.I):
            return f"{text}. {advice.format(*found.groups())}"
    return text


def lost_node(pods: Sequence[Object]) -> str | None:
    """The node of a pod that is being ended and does not end, since its node does not answer."""
    for pod in pods:
        ready = _condition(pod, "Ready")
        ending = pod["metadata"].get("deletionTimestamp") and ready.get("reason") == "NodeLost"
        if ending or (pod["status"].get("phase") == "Running" and ready.get("status") == "Unknown"):
            return str(pod["spec"].get("nodeName"))
    return None


def _condition(pod: Object, kind: str) -> Object:
    """Or nothing."""
    found: list[Object] = [one for one in pod["status"].get("conditions") or () if one["type"] == kind]
    return found[0] if found else {}
