"""The GPUs that a run can be planned for: memory, compute capability, throughput of 16-bit tensor cores.

Source: NVIDIA's data sheets; `memory` is what the driver shows, some hundred MB below the nominal size.
"""

from typing import NamedTuple


class Gpu(NamedTuple):
    """`memory` in bytes, `capability` as (major, minor), `tflops` dense in float16."""

    name: str
    memory: int
    capability: tuple[int, int]
    tflops: float

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16."""
        return self.capability >= (8, 0)


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 15_640_000_000, (7, 5), 65),
        Gpu("l4", 23_600_000_000, (8, 9), 121),
        Gpu("a10g", 23_800_000_000, (8, 6), 70),
        Gpu("rtx4090", 25_300_000_000, (8, 9), 165),
        Gpu("l40s", 47_700_000_000, (8, 9), 181),
        Gpu("a100-40", 42_300_000_000, (8, 0), 312),
        Gpu("a100-80", 85_000_000_000, (8, 0), 312),
        Gpu("h100", 85_000_000_000, (9, 0), 989),
    )
}
