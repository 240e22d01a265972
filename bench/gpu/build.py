"""llama.cpp for this machine's GPU: as it was packed, or built beside the parts that train; on a CPU the project's own.

`LLAMA_BUILT` names a build that came along (bench/gpu/pack.sh --built): it is taken if it finds this GPU and has code
for it. `LLAMA_SOURCE` (scripts/build-llama.sh) names the source if there is no network. `CUDA_ARCHITECTURES` replaces
what nvidia-smi says; empty: without CUDA.
"""

import os
import shutil
import subprocess
from pathlib import Path

from bench.gpu.record import ROOT, Bench
from job import gpu_code
from job.llama_cpp import bundle, process

KEPT_FREE = 2
"""CPUs that are left to the part that trains at the same time."""


def run(bench: Bench) -> None:
    with bench.case("build") as fields:
        wanted = os.environ.get("CUDA_ARCHITECTURES", architecture_here())
        fields["is_packed"] = packed(bench, wanted)
        if not fields["is_packed"]:
            jobs = str(max(1, (os.cpu_count() or 1) - KEPT_FREE))
            environment = os.environ | {"CUDA_ARCHITECTURES": wanted, "CMAKE_BUILD_PARALLEL_LEVEL": jobs}
            process.run(["nice", ROOT / "scripts" / "build-llama.sh", bench.llama], env=environment, on_line=print)
            forget()
        fields["architectures"] = ";".join(bundle.architectures())
        fields |= {"version": bundle.version(), "devices": bundle.devices()}


def packed(bench: Bench, wanted: str) -> bool:
    """Whether the packed build can be used here; `bench.llama` then leads to it."""
    built = os.environ.get("LLAMA_BUILT")
    if not built or not Path(built, "VERSION").is_file():
        return False
    bench.llama.unlink(missing_ok=True)
    bench.llama.symlink_to(built)
    forget()
    fits = not wanted or (gpu_code.runs_on(capability(wanted), bundle.architectures()) and bool(bundle.devices()))
    if not fits:
        print(f"packed for {';'.join(bundle.architectures())}, finds {bundle.devices()}, wanted {wanted}: built anew")
        bench.llama.unlink()
    return fits


def forget() -> None:
    """What `bundle` remembers of another folder."""
    for remembered in (bundle.home, bundle.version, bundle.architectures):
        remembered.cache_clear()


def capability(architecture: str) -> tuple[int, int]:
    """Of `90-real`: 9, 0."""
    digits = architecture.partition("-")[0]
    return int(digits[:-1]), int(digits[-1])


def architecture_here() -> str:
    """Of the first GPU that nvidia-smi names, e.g. `90-real`; empty if there is none. Code for one architecture takes a
    fraction of the time that code for all takes."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    named = subprocess.run(query, capture_output=True, text=True, check=False)
    found = named.stdout.partition("\n")[0].strip()
    return f"{found.replace('.', '')}-real" if found and named.returncode == 0 else ""
