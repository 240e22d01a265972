"""llama.cpp for this machine's GPU, built beside the parts that train; on a CPU the project's own build.

`LLAMA_SOURCE` (scripts/build-llama.sh) names its source if there is no network. `CUDA_ARCHITECTURES` replaces what
nvidia-smi says; empty: without CUDA.
"""

import os
import shutil
import subprocess

from bench.gpu.record import ROOT, Bench
from job.llama_cpp import bundle, process

KEPT_FREE = 3
"""CPUs that are left to the part that trains at the same time."""


def run(bench: Bench) -> None:
    with bench.case("build") as fields:
        architectures = os.environ.get("CUDA_ARCHITECTURES", architecture_here())
        jobs = str(max(1, (os.cpu_count() or 1) - KEPT_FREE))
        environment = os.environ | {"CUDA_ARCHITECTURES": architectures, "CMAKE_BUILD_PARALLEL_LEVEL": jobs}
        process.run(["nice", ROOT / "scripts" / "build-llama.sh", bench.llama], env=environment, on_line=print)
        fields |= {"architectures": architectures, "version": bundle.version(), "devices": bundle.devices()}


def architecture_here() -> str:
    """Of the first GPU that nvidia-smi names, e.g. `90-real`; empty if there is none. Code for one architecture takes a
    fraction of the time that code for all takes."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    named = subprocess.run(query, capture_output=True, text=True, check=False)
    capability = named.stdout.partition("\n")[0].strip()
    return f"{capability.replace('.', '')}-real" if capability and named.returncode == 0 else ""
