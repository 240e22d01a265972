"""The GPUs that a run can be planned for: memory, compute capability, throughput of 16-bit tensor cores.

Sources: NVIDIA's data sheets for throughput (dense, accumulated in float32), CUDA's table of compute capabilities;
`memory` is what the driver reports to a process, from some hundred MB to some GB below the nominal size.
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
        Gpu("a10", 23_600_000_000, (8, 6), 125),
        Gpu("a10g", 23_800_000_000, (8, 6), 70),
        Gpu("rtx4090", 25_300_000_000, (8, 9), 165),
        Gpu("rtx5090", 33_600_000_000, (12, 0), 209),
        Gpu("a100-40", 42_300_000_000, (8, 0), 312),
        Gpu("l40s", 47_700_000_000, (8, 9), 362),
        Gpu("a100-80", 85_000_000_000, (8, 0), 312),
        Gpu("h100", 85_000_000_000, (9, 0), 989),
        Gpu("h200", 150_000_000_000, (9, 0), 989),
        Gpu("b200", 191_000_000_000, (10, 0), 2250),
    )
}
"""By name, from the smallest to the largest."""

_ALSO = {"a100": "a100-40", "a100-40gb": "a100-40", "a100-80gb": "a100-80", "4090": "rtx4090", "5090": "rtx5090"}


def gpu_named(name: str) -> Gpu | None:
    """The GPU of a name, in any case and with the usual prefixes (`NVIDIA-L4`, `tesla-t4`, `A100-80GB`).

    `a100` is the one with 40 GB: what fits into it fits into both.
    """
    bare = name.strip().lower().replace("_", "-").replace(" ", "-")
    for prefix in ("nvidia-", "tesla-", "geforce-"):
        bare = bare.removeprefix(prefix)
    bare = bare.replace("rtx-", "rtx")
    return GPUS.get(_ALSO.get(bare, bare))
