"""The names of each GPU on each platform.

Sources: GKE "Run GPUs in node pools" (cloud.google.com/gke-accelerator), AWS's instance types and Karpenter's and EKS
Auto Mode's well-known labels, Azure's VM sizes, the products that GPU Feature Discovery writes (the driver's name of
the card with dashes; drivers before 470 left out `NVIDIA`).

Not included on purpose, because each is less than one card: Azure's NV6ads to NV18ads (shares of an A10), AWS's g6f and
gr6f (shares of an L4).
"""

import re
from typing import NamedTuple


class Names(NamedTuple):
    """One GPU's names. `aws`: the value of the instance-gpu-name labels. `eks` and `aks`: instance types, each with
    its number of GPUs. `gke_least`: GPUs on GKE's smallest machine with it. `mig`: whether it supports MIG slices."""

    gke: tuple[str, ...] = ()
    gke_least: int = 1
    aws: str = ""
    aws_memory: int | None = None
    """MiB, the value of the instance-gpu-memory labels: only if `aws` stands for two cards."""
    eks: dict[str, int] = {}
    aks: dict[str, int] = {}
    gfd: tuple[str, ...] = ()
    mig: bool = False
    least: int = 0
    """Bytes: any card whose label says that it has at least so much."""


def _types(prefix: str, suffix: str = "", **sizes: int) -> dict[str, int]:
    return {f"{prefix}{size.lstrip('_')}{suffix}": count for size, count in sizes.items()}


def _g(family: str, largest: int) -> dict[str, int]:
    """Instance types of a G family of AWS. All have the same sizes; 48xlarge has twice the GPUs of 24xlarge."""
    one = {f"{family}.{size}": 1 for size in ("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge")}
    return one | {f"{family}.12xlarge": 4, f"{family}.24xlarge": 4, f"{family}.48xlarge": largest}


GPU_NAMES = {
    "t4": Names(
        gke=("nvidia-tesla-t4",),
        aws="t4",
        eks=_types("g4dn.", xlarge=1, _2xlarge=1, _4xlarge=1, _8xlarge=1, _16xlarge=1, _12xlarge=4, metal=8),
        aks=_types("Standard_NC", "as_T4_v3", _4=1, _8=1, _16=1, _64=4),
        gfd=("Tesla-T4", "NVIDIA-T4"),
    ),
    "l4": Names(
        gke=("nvidia-l4",),
        aws="l4",
        eks=_g("g6", 8) | {"gr6.4xlarge": 1, "gr6.8xlarge": 1},
        gfd=("NVIDIA-L4",),
    ),
    "a10": Names(
        aks=_types("Standard_NV", "s_A10_v5", _36ad=1, _36adm=1, _72ad=2),
        gfd=("NVIDIA-A10",),
    ),
    "a10g": Names(aws="a10g", eks=_g("g5", 8), gfd=("NVIDIA-A10G",)),
    "rtx4090": Names(gfd=("NVIDIA-GeForce-RTX-4090", "NVIDIA-GeForce-RTX-4090-D")),
    "rtx5090": Names(gfd=("NVIDIA-GeForce-RTX-5090", "NVIDIA-GeForce-RTX-5090-D")),
    "a100-40": Names(
        gke=("nvidia-tesla-a100",),
        aws="a100",
        aws_memory=40_960,
        eks={"p4d.24xlarge": 8},
        aks={"Standard_ND96asr_v4": 8},
        gfd=("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB", "A100-SXM4-40GB", "A100-PCIE-40GB"),
        mig=True,
    ),
    "l40s": Names(aws="l40s", eks=_g("g6e", 8), gfd=("NVIDIA-L40S",)),
    "a100-80": Names(
        gke=("nvidia-a100-80gb",),
        aws="a100",
        aws_memory=81_920,
        eks={"p4de.24xlarge": 8},
        aks=_types("Standard_NC", "ads_A100_v4", _24=1, _48=2, _96=4) | {"Standard_ND96amsr_A100_v4": 8},
        gfd=("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe", "A100-SXM4-80GB", "A100-80GB-PCIe"),
        mig=True,
    ),
    "h100": Names(
        gke=("nvidia-h100-80gb", "nvidia-h100-mega-80gb"),
        aws="h100",
        eks={"p5.4xlarge": 1, "p5.48xlarge": 8},
        aks={"Standard_NC40ads_H100_v5": 1, "Standard_NC80adis_H100_v5": 2, "Standard_ND96isr_H100_v5": 8},
        gfd=("NVIDIA-H100-80GB-HBM3", "NVIDIA-H100-PCIe", "NVIDIA-H100-NVL"),
        mig=True,
    ),
    "h200": Names(
        gke=("nvidia-h200-141gb",),
        gke_least=8,
        aws="h200",
        eks={"p5e.48xlarge": 8, "p5en.48xlarge": 8},
        aks={"Standard_ND96isr_H200_v5": 8},
        gfd=("NVIDIA-H200", "NVIDIA-H200-NVL"),
        mig=True,
    ),
    "b200": Names(
        gke=("nvidia-b200",),
        gke_least=8,
        aws="b200",
        eks={"p6-b200.48xlarge": 8},
        gfd=("NVIDIA-B200",),
        mig=True,
    ),
}
"""By the names of job/predict/gpus.py."""

REPORTED = 0.97
"""The share of what a card is sold with that it reports at least: 15.6 of a T4's 16 GB."""


def size_of(name: str) -> int | None:
    """Bytes of a size (`40gb`), as cards are sold; None for any other name."""
    sized = re.fullmatch(r"(\d+)gb", name)
    return int(int(sized[1]) * 1e9 * REPORTED) if sized else None


def names_of_card(name: str) -> Names:
    """The names of a card. One that is not in the table is a size, or a product of GFD's, and has no others."""
    if name in GPU_NAMES:
        return GPU_NAMES[name]
    size = size_of(name)
    return Names(gfd=(name,), mig=True) if size is None else Names(least=size)
