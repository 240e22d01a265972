"""Why a run cannot use a GPU here, and what to change. FINETUNE_GPU says whether it has to."""

import os
from pathlib import Path

from job import node
from job.driver import LIBRARY, Driver
from job.errors import EnvironmentUnfit

VARIABLE = "FINETUNE_GPU"
"""`required` in a container that asks Kubernetes for a GPU; empty: without one, the run uses the CPU."""
DRIVER = 580
"""The major version that wheels built for CUDA 13 need (CUDA Toolkit release notes)."""
GKE = "/usr/local/nvidia/lib64"
"""Where GKE's device plugin mounts the driver (container-engine-accelerators, cmd/nvidia_gpu/nvidia_gpu.go); it sets no
variable."""
NO_DEVICE = 100
RUNTIME_CLASS = (
    "On k3s and RKE2 a pod needs the runtime class of NVIDIA's container runtime: `--runtime-class nvidia` "
    "(chart: `runtimeClass: nvidia`)."
)
ADVICE = {
    46: "Another process holds the GPU for itself (compute mode), or the GPU needs a reset: look at `nvidia-smi -q`.",
    304: "Check that /dev/nvidia-uvm and /dev/nvidiactl are in the container; `nvidia-modprobe -u` makes them.",
    802: "Its NVSwitch fabric is not ready: nvidia-fabricmanager has to run on the node.",
    803: "The node's driver was updated under a loaded kernel module: reboot the node. Or another libcuda.so.1 comes "
    "before the driver's on LD_LIBRARY_PATH.",
    804: "A libcuda.so.1 of the package cuda-compat is loaded, which this GPU does not support: take it off "
    "LD_LIBRARY_PATH.",
    805: "The MPS daemon of the node does not answer: start it, or ask for a GPU that is not shared.",
    999: "Check that /dev/nvidia-uvm is in the container, and look at the node's kernel log for `Xid` and `NVRM`; a "
    "reboot of the node often helps.",
}
"""By the error's number in cuda.h."""


def is_required() -> bool:
    """Whether this run was promised a GPU. Raises EnvironmentUnfit for a value that is not known."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "required"):
        raise EnvironmentUnfit(
            f"{VARIABLE} is {value[:80]!r}",
            hint="Set it to `required`, or to nothing: then a run without a GPU uses the CPU.",
        )
    return value == "required"


def is_expected(driver: Driver) -> bool:
    """Whether the CPU would be the wrong place: a GPU is required, or the container has one that is not hidden."""
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return is_required() or (bool(driver.devices) and not is_hidden)


def fault(driver: Driver) -> EnvironmentUnfit | None:
    """What keeps this torch from the GPU, as far as the driver shows it; None: nothing does."""
    why = _why(driver)
    instead = VARIABLE if is_required() else "CUDA_VISIBLE_DEVICES"
    return EnvironmentUnfit(why[0], hint=f"{why[1]} To use the CPU, set {instead} to nothing.") if why else None


def _why(driver: Driver) -> tuple[str, str] | None:
    """What is wrong, and what to change."""
    major = int((driver.version or "0").split(".")[0])
    if (driver.devices or driver.gpus) and 0 < major < DRIVER:
        what = f" of {driver.gpus[0].name}" if driver.gpus else ""
        return (
            f"the NVIDIA driver{what} is {driver.version}, and this torch needs {DRIVER} or newer",
            "Choose nodes with a newer driver, or update it there.",
        )
    if driver.gpus:
        return None
    if not driver.devices:
        return _no_device()
    has = f"this container has {', '.join(driver.devices)} (driver {driver.version or 'unknown'})"
    if driver.unloadable:
        return _unloadable(driver, has)
    if driver.failure and driver.code != NO_DEVICE:
        advice = ADVICE.get(driver.code, "Look at the node's kernel log for `Xid` and `NVRM`.")
        return f"{has}, and CUDA cannot use it: {driver.failure}", advice
    return _nothing_visible(driver, has)


def _no_device() -> tuple[str, str]:
    asked = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    so = f", although NVIDIA_VISIBLE_DEVICES is {asked[:80]!r}" if asked not in ("", "void", "none") else ""
    return (
        f"this container has no GPU: there is no /dev/nvidia0 or the like{so}",
        f"{RUNTIME_CLASS} Elsewhere look at the node's device plugin and NVIDIA container toolkit; with docker: "
        "`--gpus all`.",
    )


def _unloadable(driver: Driver, has: str) -> tuple[str, str]:
    given = os.environ.get("NVIDIA_DRIVER_CAPABILITIES") or "all"
    if Path(GKE, LIBRARY).exists():
        hint = f"It is in {GKE}, where GKE mounts it: LD_LIBRARY_PATH has to name that folder."
    elif not {"all", "compute"} & set(given.split(",")):
        hint = f"NVIDIA_DRIVER_CAPABILITIES is {given[:80]!r}: it has to contain `compute`."
    else:
        hint = f"LD_LIBRARY_PATH has to name the folder that it is in. {RUNTIME_CLASS}"
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return f"{has}, and its driver cannot be loaded: {driver.unloadable}; LD_LIBRARY_PATH is {path!r}", hint


def _nothing_visible(driver: Driver, has: str) -> tuple[str, str]:
    if node.is_mig():
        hint = "Ask for a slice (`--mig 1g.5gb`; chart: `mig`), or turn MIG off on the node."
        return f"{has}, which is in MIG mode, and no slice of it", hint
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    so = f"; CUDA_VISIBLE_DEVICES is {visible[:80]!r}" if visible is not None else ""
    return (
        f"{has}, and CUDA counts no GPU{f': {driver.failure}' if driver.failure else ''}{so}",
        "Unset CUDA_VISIBLE_DEVICES if it is set; else look at the node's device plugin, which may have handed out a "
        "card that is gone.",
    )
