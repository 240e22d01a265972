"""What GKE Autopilot's admission is known to refuse of a pod, from the messages that its users quote.

Nothing of this runs on Autopilot. Sources: GoogleCloudPlatform/ai-on-gke#983 and rancher/dashboard#10564 (keys of node
selectors and affinity, the accelerator), GoogleCloudPlatform/k8s-stackdriver#1079 (tolerations),
buildkite/agent-stack-k8s#855 (eviction on Spot). Whether the labels for shares and slices may be in affinity is not
told by any of them; here they may.
"""

from collections.abc import Iterator
from typing import Any

GPU, SPOT, SAFE_TO_EVICT = (
    "nvidia.com/gpu",
    "cloud.google.com/gke-spot",
    "cluster-autoscaler.kubernetes.io/safe-to-evict",
)
ALLOWED = {"kubernetes.io/arch", "kubernetes.io/os", "topology.kubernetes.io/zone", "topology.kubernetes.io/region"}


def refusals(template: dict[str, Any]) -> Iterator[str]:
    """The reasons for which Autopilot would refuse this pod, or never start a node for it."""
    pod = template["spec"]
    selector = pod.get("nodeSelector", {})
    required = pod.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = [one["key"] for term in required.get("nodeSelectorTerms", []) for one in term["matchExpressions"]]
    for key in (*selector, *terms):
        if key not in ALLOWED and not key.startswith("cloud.google.com/gke-"):
            yield f"key {key} is not allowed"
    wants = any(GPU in one.get("resources", {}).get("limits", {}) for one in pod["containers"])
    if wants and "cloud.google.com/gke-accelerator" not in selector:
        yield "a GPU without the accelerator as node selector"
    if not wants and GPU in [one["key"] for one in pod.get("tolerations", [])]:
        yield "a toleration for GPUs without a GPU"
    held = template["metadata"].get("annotations", {}).get(SAFE_TO_EVICT) == "false"
    if selector.get(SPOT) == "true" and held:
        yield "no Spot node for a pod that must not be evicted"
