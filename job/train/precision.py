"""The precision of a training on this device."""

from collections.abc import Collection
from typing import Any

from job import driver, gpu_faults
from job.errors import EnvironmentUnfit
from job.logs import log
from job.spec import JobSpec
from job.spec.precision import BF16_CAPABILITY, Precision, precision_of

__all__ = ["Precision", "choose", "torch_dtype"]


def choose(spec: JobSpec, families: Collection[str]) -> Precision:
    """`families`: the model's (`job.spec.precision.families_of`). Raises EnvironmentUnfit if the spec asks for bfloat16
    or FlashAttention on a GPU below 8.0 or for either or half precision on a CPU, or if torch cannot use a GPU that is
    expected."""
    assert spec.training
    capability = _capability()
    native = capability is not None and capability >= BF16_CAPABILITY
    if spec.training.attention == "flash_attention_2" and not native:
        here = f"this GPU has {capability[0]}.{capability[1]}" if capability else "there is no GPU here"
        raise EnvironmentUnfit(
            f"training.attn_implementation: flash_attention_2 needs a GPU of compute capability 8.0; {here}",
            hint="Set it to auto, which computes the same.",
        )
    chosen = precision_of(spec, families, capability)
    if capability is not None and not native and (chosen.bf16 or chosen.compute == "bfloat16"):
        major, minor = capability
        raise EnvironmentUnfit(
            f"this GPU has compute capability {major}.{minor}, but bfloat16 needs 8.0",
            hint="Set training.bf16 and load.compute_dtype to auto, which means float16 on this GPU.",
        )
    if capability is None and chosen.fp16:
        raise EnvironmentUnfit(
            "training.fp16: there is no GPU here", hint="Set it to auto, or use a machine with a GPU."
        )
    found = {"compute_dtype": chosen.compute, "fp16": chosen.fp16, "bf16": chosen.bf16, "frozen_dtype": chosen.frozen}
    log.info("train.precision", **found, capability=capability)
    if chosen.overflows:
        log.warning("train.float16_is_too_small", family=chosen.overflows, what=chosen.told)
    return chosen


def _capability() -> tuple[int, int] | None:
    """The GPU's compute capability; None if there is no GPU and none is expected."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()
    found = driver.ask()
    if not gpu_faults.is_required() and not (torch.version.cuda and gpu_faults.is_expected(found)):
        return None
    if fault := gpu_faults.fault(found):
        raise fault
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    raise EnvironmentUnfit(
        f"torch {torch.__version__}, {built}, cannot use {found.gpus[0].name} (driver {found.version}): {_refusal()}",
        hint="Install a build of torch for this driver, or use the project's image.",
    )


def _refusal() -> str:
    """Torch's own message why it finds no GPU."""
    import torch

    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition("\n")[0]
    return "it gives no reason"


def torch_dtype(name: str) -> Any:
    """The torch dtype for a name in the spec."""
    import torch

    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[name]
