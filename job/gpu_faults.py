"""Explains why a run cannot use a GPU here, and what to change. FINETUNE_GPU says whether a GPU is required."""

import os
from collections.abc import Sequence
from pathlib import Path

from job import gpu_code, node
from job.driver import LIBRARY, Driver
from job.errors import EnvironmentUnfit
from job.node import GpuHere
from job.torch_build import TorchBuild

VARIABLE = "FINETUNE_GPU"
"""`required` in a container that requests a GPU from Kubernetes; `training` if llama.cpp need not be able to use it.
Empty: without a GPU, the run uses the CPU."""
DRIVER = 580
"""The major version that wheels built for CUDA 13 need (CUDA Toolkit release notes)."""
GKE = "/usr/local/nvidia/lib64"
"""Where GKE's device plugin mounts the driver (container-engine-accelerators, cmd/nvidia_gpu/nvidia_gpu.go); it sets no
variable."""
NO_DEVICE = 100
RUNTIME_CLASS = (
    "On k3s and RKE2 a pod needs the runtime class of NVIDIA's container runtime: `--runtime-class nvidia` "
    "(chart: `runtimeClassName: nvidia`)."
)
ADVICE = {
    46: "Another process uses the GPU exclusively (compute mode), or the GPU needs a reset: check `nvidia-smi -q`.",
    304: "Check that /dev/nvidia-uvm and /dev/nvidiactl are in the container; `nvidia-modprobe -u` creates them.",
    802: "Its NVSwitch fabric is not ready: nvidia-fabricmanager has to run on the node.",
    803: "The node's driver was updated under a loaded kernel module: reboot the node. Or another libcuda.so.1 comes "
    "before the driver's on LD_LIBRARY_PATH.",
    804: "A libcuda.so.1 of the package cuda-compat is loaded, which this GPU does not support: remove it from "
    "LD_LIBRARY_PATH.",
    805: "The MPS daemon of the node does not answer: start it, or request a GPU that is not shared.",
    999: "Check that /dev/nvidia-uvm is in the container, and search the node's kernel log for `Xid` and `NVRM`; "
    "rebooting the node often helps.",
}
"""Advice by the error's number in cuda.h."""


def is_required() -> bool:
    """Whether this run requires a GPU. Raises EnvironmentUnfit for an unknown value."""
    return _value() != ""


def is_required_for_files() -> bool:
    """Whether llama.cpp has to be able to use the GPU."""
    return _value() == "required"


def _value() -> str:
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "required", "training"):
        raise EnvironmentUnfit(
            f"{VARIABLE} is {value[:80]!r}",
            hint="Set it to `required`, to `training` if llama.cpp may use the CPU beside the GPU, or leave it empty: "
            "then a run without a GPU uses the CPU.",
        )
    return value


def is_expected(driver: Driver) -> bool:
    """Whether the run should use a GPU: one is required, or the container has one that is not hidden."""
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return is_required() or (bool(driver.devices) and not is_hidden)


def fault(driver: Driver) -> EnvironmentUnfit | None:
    """The reason why torch cannot use the GPU, as far as the driver shows it, or None."""
    why = _why(driver)
    instead = VARIABLE if is_required() else "CUDA_VISIBLE_DEVICES"
    return EnvironmentUnfit(why[0], hint=f"{why[1]} To use the CPU, set {instead} to an empty value.") if why else None


def torch_fault(gpu: GpuHere, torch: TorchBuild) -> EnvironmentUnfit | None:
    """The reason why this build of torch cannot train on the GPU, or None. bitsandbytes' libraries have code for every
    GPU that torch's have (0.50.2: `cuobjdump --list-elf`)."""
    if torch.cuda is None:
        what = f"torch {torch.version}, built without CUDA, cannot use {gpu.name}"
    elif not gpu_code.runs_on(gpu.capability, torch.architectures):
        what = f"torch {torch.version} {_lacks(gpu, torch.architectures)}"
    else:
        return None
    return EnvironmentUnfit(what, hint="Choose a node with another GPU, or install a build of torch for this one.")


def llama_fault(gpu: GpuHere, architectures: Sequence[str], devices: Sequence[str]) -> EnvironmentUnfit | None:
    """The reason why llama.cpp cannot use the GPU, or None. `architectures`: what it was built for; `devices`: what it
    finds here."""
    own = "".join(map(str, gpu.capability))
    build = f"build with CUDA_ARCHITECTURES={own} (`make image`; without an image `make llama`)"
    if architectures and not gpu_code.runs_on(gpu.capability, architectures):
        what = f"llama.cpp {_lacks(gpu, architectures)}"
    elif not architectures and not devices:
        what = f"llama.cpp was built without CUDA: {gpu.name} would stand idle while the CPU measures files, for hours"
    elif not devices:
        what = f"llama.cpp was built with CUDA, but does not find {gpu.name}"
        build = "run `llama-bench --list-devices` in the container: it shows which library cannot be loaded"
    else:
        return None
    return EnvironmentUnfit(what, hint=f"To use it, {build}. To use the CPU for files, set {VARIABLE}=training.")


def _lacks(gpu: GpuHere, architectures: Sequence[str]) -> str:
    major, minor = gpu.capability
    built = gpu_code.named(architectures)
    return f"has no code for {gpu.name} (compute capability {major}.{minor}): it was built for {built}"


def _why(driver: Driver) -> tuple[str, str] | None:
    """The problem, and what to change."""
    major = int((driver.version or "0").split(".")[0])
    if (driver.devices or driver.gpus) and 0 < major < DRIVER:
        what = f" of {driver.gpus[0].name}" if driver.gpus else ""
        return (
            f"the NVIDIA driver{what} is {driver.version}, but this torch needs {DRIVER} or newer",
            "Choose nodes with a newer driver, or update the driver.",
        )
    if driver.gpus:
        return None
    if not driver.devices:
        return _no_device()
    has = f"this container has {', '.join(driver.devices)} (driver {driver.version or 'unknown'})"
    if driver.unloadable:
        return _unloadable(driver, has)
    if driver.failure and driver.code != NO_DEVICE:
        advice = ADVICE.get(driver.code, "Search the node's kernel log for `Xid` and `NVRM`.")
        return f"{has}, but CUDA cannot use it: {driver.failure}", advice
    return _nothing_visible(driver, has)


def _no_device() -> tuple[str, str]:
    asked = os.environ.get("NVIDIA_VISIBLE_DEVICES", "")
    so = f", although NVIDIA_VISIBLE_DEVICES is {asked[:80]!r}" if asked not in ("", "void", "none") else ""
    return (
        f"this container has no GPU: there is no /dev/nvidia0 or the like{so}",
        f"{RUNTIME_CLASS} Elsewhere check the node's device plugin and NVIDIA container toolkit; with docker use "
        "`--gpus all`.",
    )


def _unloadable(driver: Driver, has: str) -> tuple[str, str]:
    given = os.environ.get("NVIDIA_DRIVER_CAPABILITIES") or "all"
    if Path(GKE, LIBRARY).exists():
        hint = f"It is in {GKE}, where GKE mounts it: add that folder to LD_LIBRARY_PATH."
    elif not {"all", "compute"} & set(given.split(",")):
        hint = f"NVIDIA_DRIVER_CAPABILITIES is {given[:80]!r}: it must contain `compute`."
    else:
        hint = f"Add the folder that contains it to LD_LIBRARY_PATH. {RUNTIME_CLASS}"
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return f"{has}, but its driver cannot be loaded: {driver.unloadable}; LD_LIBRARY_PATH is {path!r}", hint


def _nothing_visible(driver: Driver, has: str) -> tuple[str, str]:
    if node.is_mig():
        hint = "Request a slice (`--mig 1g.5gb`; chart: `mig`), or turn MIG off on the node."
        return f"{has}, which is in MIG mode, but no slice of it", hint
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    so = f"; CUDA_VISIBLE_DEVICES is {visible[:80]!r}" if visible is not None else ""
    return (
        f"{has}, but CUDA finds no GPU{f': {driver.failure}' if driver.failure else ''}{so}",
        "Unset CUDA_VISIBLE_DEVICES if it is set; otherwise check the node's device plugin, which may have assigned a "
        "card that no longer exists.",
    )
