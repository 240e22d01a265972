"""What the device can compute in, and what the spec's `auto` means on it."""

from dataclasses import dataclass
from typing import Any

from job.errors import EnvironmentUnfit
from job.logs import log
from job.spec import JobSpec

BF16_CAPABILITY = (8, 0)
"""NVIDIA's first with bfloat16 units (Ampere); torch.cuda.is_bf16_supported() also says yes to emulation."""


@dataclass(frozen=True)
class Precision:
    """`cuda`: whether there is a GPU. `compute`: a torch dtype's name. `fp16`/`bf16`: the Trainer's mixed precision."""

    cuda: bool
    compute: str
    fp16: bool
    bf16: bool


def choose(spec: JobSpec) -> Precision:
    """Raises EnvironmentUnfit where the spec asks for bfloat16 on a GPU below 8.0, or for half precision on a CPU,
    and where the driver is too old for this torch."""
    assert spec.training
    capability = _capability()
    native = capability is not None and capability >= BF16_CAPABILITY
    bf16 = native and spec.training.fp16 is not True if spec.training.bf16 == "auto" else spec.training.bf16
    fp16 = capability is not None and not bf16 and not native if spec.training.fp16 == "auto" else spec.training.fp16
    wanted = spec.load.compute_dtype
    compute = ("bfloat16" if native else "float16" if capability else "float32") if wanted == "auto" else wanted
    if capability is not None and not native and (bf16 or compute == "bfloat16"):
        major, minor = capability
        raise EnvironmentUnfit(
            f"this GPU has compute capability {major}.{minor}, and bfloat16 begins at 8.0",
            hint="Leave training.bf16 and load.compute_dtype at auto: then it is float16 here.",
        )
    if capability is None and fp16:
        raise EnvironmentUnfit("training.fp16: there is no GPU here", hint="Leave it at auto, or ask for a GPU.")
    chosen = Precision(capability is not None, compute, bool(fp16), bool(bf16))
    log.info("train.precision", compute_dtype=compute, fp16=chosen.fp16, bf16=chosen.bf16, capability=capability)
    return chosen


def _capability() -> tuple[int, int] | None:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()
    driver = _driver_version()
    if driver and torch.version.cuda:
        raise EnvironmentUnfit(
            f"the NVIDIA driver is {driver}, and torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use it",
            hint="CUDA 13 needs driver 580 or newer.",
        )
    return None


def _driver_version() -> str | None:
    """The kernel driver's version, where a GPU's driver is loaded and a device is handed to this container."""
    from pathlib import Path

    version = Path("/proc/driver/nvidia/version")
    if not version.is_file() or not Path("/dev/nvidia0").exists():
        return None
    words = version.read_text().split()
    numbers = [word for word in words if word[:1].isdigit() and word.count(".") >= 1]
    return numbers[0] if numbers else "unknown"


def torch_dtype(name: str) -> Any:
    """The torch dtype of a name of the spec."""
    import torch

    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[name]
