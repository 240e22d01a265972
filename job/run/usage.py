"""Memory over time, of a run's processes and its GPU: `runs/<run id>/usage/<attempt>.json`.

A thread measures at intervals. At most POINTS values are kept however long a run is: if there are more, every second
one is dropped and the interval doubles.
"""

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from job.artifacts import Frozen
from job.errors import JobError, named
from job.logs import log
from job.node import gpu_memory_used
from job.run.records import parsed
from job.store import Store

POINTS = 600
FIRST_PAUSE_S = 1.0
WRITE_EVERY_S = 60.0


class Usage(Frozen):
    """One attempt's memory: its start (seconds since 1970), and for each point in time the seconds since the start, the
    stage, the anonymous memory of the job's processes and the GPU's used memory, both in bytes. `gpu` is None without a
    GPU."""

    began: float
    seconds: list[float] = []
    stages: list[str] = []
    memory: list[int] = []
    gpu: list[int] | None = None


class UsageLog:
    """Measures until it is closed. A failed write is a warning, not an error."""

    def __init__(self, store: Store, run: str, attempt: int, stage: Callable[[], str]) -> None:
        self._store, self._key, self._stage = store, f"runs/{run}/usage/{attempt:04d}.json", stage
        self._began, self._start = time.time(), time.monotonic()
        self._points: list[tuple[float, str, int, int | None]] = []
        self._pause, self._written = FIRST_PAUSE_S, self._start
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="usage", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._closed.wait(self._pause):
            now = time.monotonic() - self._start
            try:
                self._points.append((now, self._stage(), anonymous_memory(), gpu_used()))
            except (psutil.Error, OSError, ValueError):  # a process that ended while it was read, or no /proc
                continue
            if len(self._points) > POINTS:
                self._points, self._pause = self._points[::2], self._pause * 2
            if time.monotonic() - self._written > WRITE_EVERY_S:
                self.flush()

    def flush(self) -> None:
        """Writes the values measured so far."""
        self._written, points = time.monotonic(), list(self._points)
        usage = Usage(
            began=self._began,
            seconds=[round(point[0], 1) for point in points],
            stages=[point[1] for point in points],
            memory=[point[2] for point in points],
            gpu=[point[3] or 0 for point in points] if any(point[3] is not None for point in points) else None,
        )
        try:
            self._store.put(self._key, usage.model_dump_json().encode())
        except Exception as error:  # noqa: BLE001 - a picture of the memory never fails a run
            log.warning("usage.not_stored", why=named(error).message)

    def close(self) -> None:
        """Ends and writes the rest."""
        self._closed.set()
        self._thread.join()
        self.flush()


def read_usage(store: Store, run: str) -> list[Usage]:
    """The usage of every attempt, in order. A damaged file is left out, with a warning: no run fails for a picture."""
    usages = []
    for key in sorted(store.list(f"runs/{run}/usage/")):
        try:
            found = store.get(key)
            usages += [parsed(Usage, store, key, found[0])] if found else []
        except JobError as error:
            log.warning("usage.unreadable", why=error.message)
    return usages


def anonymous_memory() -> int:
    """Bytes of this process and its children that no file backs: a memory limit counts them."""
    total = 0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            info: Any = process.memory_info()
        except psutil.NoSuchProcess:
            continue
        total += info.rss - info.shared
    return total


def gpu_used() -> int | None:
    """Bytes in use on the first GPU, or None without one."""
    try:
        return gpu_memory_used()
    except (OSError, subprocess.TimeoutExpired):
        return None
