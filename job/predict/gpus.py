"""The GPUs that a run can be planned for: memory and its bandwidth, compute capability, throughput of 16-bit tensor
cores.

Sources: NVIDIA's data sheets for throughput (dense, accumulated in float32) and bandwidth, CUDA's table of compute
capabilities; `memory` is what the driver reports to a process, from some hundred MB to some GB below the nominal size.
"""

import re
from typing import NamedTuple

from job.nearest import guess


class Gpu(NamedTuple):
    """`memory` in bytes, `capability` as (major, minor), `tflops` dense in float16, `bandwidth` of its memory in GB per
    second; 0 if they are not known."""

    name: str
    memory: int
    capability: tuple[int, int]
    tflops: float = 0
    bandwidth: float = 0

    @property
    def has_speed(self) -> bool:
        """Whether times can be predicted for it."""
        return self.tflops > 0 and self.bandwidth > 0

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.capability >= (8, 0)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 15_640_000_000, (7, 5), 65, 320),
        Gpu("l4", 23_600_000_000, (8, 9), 121, 300),
        Gpu("a10", 23_600_000_000, (8, 6), 125, 600),
        Gpu("a10g", 23_800_000_000, (8, 6), 70, 600),
        Gpu("rtx4090", 25_300_000_000, (8, 9), 165, 1008),
        Gpu("rtx5090", 33_600_000_000, (12, 0), 209, 1792),
        Gpu("a100-40", 42_300_000_000, (8, 0), 312, 1555),
        Gpu("l40s", 47_700_000_000, (8, 9), 362, 864),
        Gpu("a100-80", 85_000_000_000, (8, 0), 312, 1935),
        Gpu("h100", 85_000_000_000, (9, 0), 989, 3350),
        Gpu("h200", 150_000_000_000, (9, 0), 989, 4800),
        Gpu("b200", 191_000_000_000, (10, 0), 2250, 8000),
    )
}
"""By name, from the smallest to the largest."""

OLDEST = (7, 5)
"""The compute capability from which on CUDA 13 supports a card (CUDA Toolkit 13.0 release notes); the image has it."""

_SEVERAL = {"a100": ("a100-40", "a100-80")}
TWO_SIZES = "a100 is sold with 40 and with 80 GB: a100-40 or a100-80 names one of them"
_NO_PART_OF_A_NAME = re.compile(r"^(nvidia-|tesla-|geforce-)+|-(pcie|sxm\d?|nvl|hbm\d\w?|d)(?=-|$)")


def gpus_named(name: str) -> list[Gpu]:
    """The GPUs of a name, in any case and as the driver and shops write it (`NVIDIA-L4`, `Tesla T4`, `A100-SXM4-80GB`):
    one, or both that are sold as `a100`. Raises ValueError."""
    bare = _NO_PART_OF_A_NAME.sub("", re.sub(r"[-_\s]+", "-", name.strip().lower()))
    bare = re.sub(r"^rtx-|^(?=[45]090$)", "rtx", bare)
    sized = re.fullmatch(r"(.+)-(\d+)gb", bare)
    for known in (bare, *((f"{sized[1]}-{sized[2]}", sized[1]) if sized else ())):
        if known in GPUS or known in _SEVERAL:
            return [GPUS[one] for one in _SEVERAL.get(known, (known,))]
    raise ValueError(f"{name[:40]!r} is not known{guess(name, GPUS) or ';'} Known: {', '.join(GPUS)}")


def known_gpu(name: str) -> Gpu | None:
    """The card of a driver's name, or None if it is not in the table."""
    try:
        return gpus_named(name)[0]
    except ValueError:
        return None
