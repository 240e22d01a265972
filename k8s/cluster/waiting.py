"""Explains why a run does not run yet, from its Job, its pods and the cluster's events."""

import re
from collections.abc import Sequence
from typing import Any

from k8s.cluster.runs import ended_container, run_of

Object = dict[str, Any]
_WAITING = {
    "ImagePullBackOff": "the image cannot be pulled",
    "ErrImagePull": "the image cannot be pulled",
    "InvalidImageName": "the image's name is wrong",
    "CreateContainerConfigError": "the container cannot be created",
    "CreateContainerError": "the container cannot be created",
    "RunContainerError": "the container cannot be started",
}
_HINTS = (
    (r"secret \"?([\w.-]+)\"? not found", "Create the Secret {0} in this namespace."),
    (
        r"\b(configmap|persistentvolumeclaim|serviceaccount|RuntimeClass|PriorityClass) \"?([\w./-]+)\"? not found",
        "Create the {0} {1}, or name another one.",
    ),
    (r"couldn't find key (\S+) in Secret", "The Secret lacks the key {0}."),
    (
        r"ErrImageNeverPull|not present with pull policy",
        "The image is not on the node, and the pull policy forbids pulling it.",
    ),
    (
        r"Multi-Attach error",
        "A pod on another node still uses this volume, which one node at a time can mount; this run starts when that "
        "pod has ended.",
    ),
    (r"unauthorized|authorization failed|403 Forbidden", "Name a pull secret for it with --pull-secret."),
    (r"not found|manifest unknown", "Check the image's name, and that it was pushed."),
    (r"must specify limits\.cpu", "Set --cpu-limit (in the chart: resources.cpuLimit)."),
)
_PREEMPTION = re.compile(r"(\.? no new claims to deallocate,)? preemption:.*$", re.S)
"""A part of the scheduler's message that repeats the rest."""
_SCALING = {
    "TriggeredScaleUp": "an autoscaler is adding a node",
    "Nominated": "an autoscaler is adding a node",
    "NotTriggerScaleUp": "no autoscaler can add a suitable node",
}

_INSTEAD = {
    "ephemeral-storage": "; give the nodes a larger disk, or launch it with --scratch or a smaller --disk",
    "memory": "; use larger nodes, or launch it with a smaller --memory",
    "cpu": "; use larger nodes, or launch it with a smaller --cpu",
}
"""What to do if no node has enough of a quantity."""


def waiting_for(job: Object, pods: Sequence[Object], said: Sequence[Object]) -> list[str]:
    """What a run is waiting for; empty if it is running. `said`: events of the Job and its newest pod.

    One sentence each, the most informative first.
    """
    run = run_of(job, pods)
    if run.is_over or run.state == "running":
        return []
    if run.state == "queued":
        queue = job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        return [f"waiting for admission by Kueue (queue {queue})", *_last(said, "Pending", "QuotaReserved")]
    if run.state == "suspended":
        return [f"suspended; `finetune-run resume {run.name}` continues it"]
    if run.state == "ending":
        return ["its pods are being stopped"]
    alive = [pod for pod in pods if pod["status"].get("phase") in ("Pending", "Unknown", None)]
    if not alive:
        refused = _last(said, "FailedCreate")
        return [f"its pod is refused: {refused[0]}"] if refused else _between(pods)
    return waiting_for_pod(alive[-1], said)


def _between(pods: Sequence[Object]) -> list[str]:
    """The message between two pods: the Job controller waits longer after each failure, up to ten minutes."""
    if not pods:
        return ["waiting for its pod to be created"]
    ended = ended_container(pods[-1])
    how = f" after exit code {ended['exitCode']}" if ended else ""
    return [f"waiting for a new pod{how}; the pauses grow from 10 seconds to 10 minutes"]


def kept_off_by_taints(pod: Object) -> bool:
    """Whether the scheduler found no node because of taints, and not because nodes are full."""
    scheduled = _condition(pod, "PodScheduled")
    why = scheduled.get("message") or "" if scheduled.get("status") == "False" else ""
    return "untolerated taint" in why and "Insufficient" not in why


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
        found = [f"no node for its pod yet: {why}"]
        scaling = [text for one in said if (text := _scaling(one))]
        return found + _lacking(pod, [why, *scaling]) + list(dict.fromkeys(scaling))
    where = f" on {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else ""
    if failed := _last(said, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"):
        return [with_hint(f"its pod cannot start{where}: {failed[0]}")]
    pulling = any(one.get("reason") == "Pulling" for one in said) and not any(
        one.get("reason") == "Pulled" for one in said
    )
    return [f"pulling the image{where}; the first time takes minutes" if pulling else f"starting{where}"]


def _scaling(event: Object) -> str:
    """What an autoscaler does about the pod, and why it does nothing."""
    reason, component = event.get("reason", ""), event.get("source", {}).get("component")
    if reason == "FailedScheduling" and "karpenter" in (component, event.get("reportingComponent")):
        reason = "NotTriggerScaleUp"
    what = _SCALING.get(reason, "")
    return f"{what}: {event.get('message')}" if reason == "NotTriggerScaleUp" else what


def _lacking(pod: Object, told: Sequence[str]) -> list[str]:
    """Each quantity that scheduler or autoscaler found on no node, with what the run requests of it and what to do.

    Karpenter names none: "no instance type has enough resources". Its machines differ in all but the disk, which its
    node class sets.
    """
    text = " ".join(told)
    asked: Object = {}
    for one in pod["spec"]["containers"]:
        asked |= one.get("resources", {}).get("requests") or {}
    lacking = [name for name in dict.fromkeys(re.findall(r"Insufficient ([\w./-]*\w)", text)) if name in asked]
    found = [
        f"no node has {asked[name]} of {name} free, which the run requests{_INSTEAD.get(name, '')}" for name in lacking
    ]
    if re.search(r"no instance type .*resources", text) and (disk := asked.get("ephemeral-storage")):
        found.append(
            f"the run requests {disk} of ephemeral-storage; a node of Karpenter has 20Gi unless its EC2NodeClass says "
            "more (docs/eks.md)"
        )
    return found


def _last(said: Sequence[Object], *reasons: str) -> list[str]:
    found = [one.get("message", "") for one in said if one.get("reason") in reasons]
    return [with_hint(found[-1])] if found else []


def with_hint(text: str) -> str:
    """The cluster's message, with advice if there is any."""
    text = re.sub(r"\s+", " ", text).strip()
    for pattern, advice in _HINTS:
        if found := re.search(pattern, text, re.I):
            return f"{text}. {advice.format(*found.groups())}"
    return text


def lost_node(pods: Sequence[Object]) -> str | None:
    """The unreachable node of a pod that should stop and cannot."""
    for pod in pods:
        ready = _condition(pod, "Ready")
        ending = pod["metadata"].get("deletionTimestamp") and ready.get("reason") == "NodeLost"
        if ending or (pod["status"].get("phase") == "Running" and ready.get("status") == "Unknown"):
            return str(pod["spec"].get("nodeName"))
    return None


def _condition(pod: Object, kind: str) -> Object:
    """A condition of a pod; empty if it is not set."""
    found: list[Object] = [one for one in pod["status"].get("conditions") or () if one["type"] == kind]
    return found[0] if found else {}
