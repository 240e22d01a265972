"""This machine's memory, CPUs and GPU as CUDA sees it, without torch; and whether a process outlives its parent."""

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from job import cgroup, driver

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class GpuHere(NamedTuple):
    """`memory` in bytes; `capability` of CUDA; `driver` e.g. `580.65.06`."""

    name: str
    memory: int
    capability: tuple[int, int]
    driver: str


def bound_to_parent() -> Callable[[], None]:
    """A function: the kernel kills the process that calls it when the thread that started it ends, however that is.

    libc is opened here, because a process that has just been forked (`preexec_fn`) must not take its locks.
    """
    return partial(ctypes.CDLL(None).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)


def has_triton() -> bool:
    """Whether Triton is installed, whose kernels reduce the memory of TRL's loss."""
    return importlib.util.find_spec("triton") is not None


def memory_bytes() -> int:
    """Bytes of memory that this process may use: the machine's, reduced by its control groups' limit."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    total = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:"))
    limit = cgroup.memory_limit()
    return total if limit is None else min(total, limit)


def is_lost_with_pod(folder: Path) -> bool:
    """Whether this is a pod and the folder is on the container's own file system. Volumes are file systems of their
    own."""
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return "KUBERNETES_SERVICE_HOST" in os.environ and there.stat().st_dev == Path("/").stat().st_dev


def gpu_here(found: driver.Driver | None = None) -> GpuHere | None:
    """The first GPU that CUDA can use, or None. `found`: the driver's answer, if it was queried already."""
    found = found or driver.ask()
    return GpuHere(*found.gpus[0], found.version or "unknown") if found.gpus else None


def gpu_memory_used() -> int | None:
    """Bytes in use on the first GPU, or None if nvidia-smi is missing or cannot read them, as on a MIG slice."""
    found = _asked("memory.used")
    return int(found[0]) << 20 if found and found[0].isdigit() else None


def is_mig() -> bool:
    """Whether the first card is divided into slices."""
    return _asked("mig.mode.current") == ["Enabled"]


def _asked(fields: str) -> list[str] | None:
    """The values of nvidia-smi for the first GPU."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    done = subprocess.run(query, capture_output=True, encoding="utf-8", check=False, timeout=60)
    lines = done.stdout.strip().splitlines()
    return None if done.returncode or not lines else [part.strip() for part in lines[0].split(",")]


def threads() -> int:
    """Number of CPUs that this process may use: its affinity, reduced by the cgroup's quota (v2, then v1)."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return allowed
    if not quota.isdigit() or int(quota) <= 0:
        return allowed
    return max(1, min(allowed, int(quota) // int(period)))
