"""Ends a run that is about to exceed what its container may use of memory or disk: with the figures, and 78.

Beyond those limits nobody asks. The kernel kills every process of a container at once (memory.oom.group, which
Kubernetes sets on cgroup v2), and the kubelet evicts the pod: neither leaves a word, and another try ends alike.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from job import cgroup
from job.errors import EnvironmentUnfit, JobError
from job.node_disk import NodeDisk, node_disk

MEMORY_EVERY_S, DISK_EVERY_S = 0.05, 3.0
"""Seconds between two looks. The kubelet looks at the disk every ten seconds or more seldom."""
MEMORY_SHARE = 0.97
"""Of the memory limit. What the kernel itself needs for a container (page tables, sockets) is in the rest."""
PRESSURE = 0.9
"""Above this share `pressed` is called, once for each rise: whatever kills the run then, what it used is on record."""


@contextmanager
def watched(
    stage: Callable[[], str], end: Callable[[JobError], None], pressed: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Watches while the block lasts. `end`: called once from another thread, with the error that the run is to end
    with."""
    closed = threading.Event()
    looks = [(MEMORY_EVERY_S, _memory_look(stage, pressed))]
    if disk := node_disk():
        looks.append((DISK_EVERY_S, lambda: disk_fault(disk, stage())))
    threads = [
        threading.Thread(target=_watch, args=(closed, every, look, end), name="limits", daemon=True)
        for every, look in looks
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        closed.set()
        for thread in threads:
            thread.join()


def memory_fault(found: cgroup.Memory, stage: str) -> EnvironmentUnfit | None:
    """What to end with, if this is nearly all that the kernel grants."""
    if found.share < MEMORY_SHARE:
        return None
    swap = f" and {found.swap / 1e9:.2f} GB of swap" if found.swap else ""
    return EnvironmentUnfit(
        f"the stage {stage} uses {found.used / 1e9:.2f} GB of memory, and this container may use "
        f"{found.limit / 1e9:.2f} GB{swap}: it was stopped before the kernel killed everything in the container",
        hint="Give it more memory (--memory; in the chart: resources.memory), or set a smaller "
        "training.per_device_train_batch_size or training.max_length.",
    )


def disk_fault(disk: NodeDisk, stage: str) -> EnvironmentUnfit | None:
    """What to end with, if these folders hold nearly all that the kubelet allows them together."""
    used = disk.used()
    if (total := sum(used.values())) < disk.usable:
        return None
    each = ", ".join(f"{folder} {count / 1e9:.2f} GB" for folder, count in used.items())
    return EnvironmentUnfit(
        f"the stage {stage} uses {total / 1e9:.2f} GB of the node's disk ({each}), and this pod may use "
        f"{disk.limit / 1e9:.2f} GB: it was stopped before the kubelet evicted the pod",
        hint="Give it more disk (--disk; in the chart: resources.disk) or a volume to work on (--scratch; in the "
        "chart: scratch.size), or name fewer or smaller export.types.",
    )


def _memory_look(stage: Callable[[], str], pressed: Callable[[], None]) -> Callable[[], JobError | None]:
    is_pressed = False

    def look() -> JobError | None:
        nonlocal is_pressed
        found = cgroup.memory()
        if found is None:
            return None
        was, is_pressed = is_pressed, found.share >= PRESSURE
        if is_pressed and not was:
            pressed()
        return memory_fault(found, stage())

    return look


def _watch(
    closed: threading.Event, every: float, look: Callable[[], JobError | None], end: Callable[[JobError], None]
) -> None:
    while not closed.wait(every):
        if fault := look():
            end(fault)
            return
