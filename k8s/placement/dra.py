"""GPUs that NVIDIA's driver for Dynamic Resource Allocation serves, instead of its device plugin.

Such a node does not list them among its allocatable resources. A Job that asks for nvidia.com/gpu is scheduled to it
all the same if a DeviceClass has that as its extendedResourceName
(https://kubernetes.io/docs/concepts/resource-management/dynamic-resource-allocation/).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from k8s.placement.kinds import GPU

DRIVER = "gpu.nvidia.com"
ADVICE = (
    f"set extendedResourceName: {GPU} in the DeviceClass {DRIVER} (Kubernetes 1.36, or 1.34 with the feature gate "
    "DRAExtendedResource), and the same Job runs there"
)


def whole_gpus(slices: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The number of whole cards by node, from ResourceSlices."""
    found: dict[str, set[str]] = {}
    for spec in (one["spec"] for one in slices):
        for device in spec.get("devices") or ():
            kind = (device.get("attributes") or {}).get("type", {}).get("string", "gpu")
            if spec["driver"] == DRIVER and spec.get("nodeName") and kind == "gpu":
                found.setdefault(spec["nodeName"], set()).add(device["name"])
    return {node: len(devices) for node, devices in found.items()}


def is_mapped(classes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a DeviceClass stands for requests of nvidia.com/gpu."""
    return any(one["spec"].get("extendedResourceName") == GPU for one in classes)
