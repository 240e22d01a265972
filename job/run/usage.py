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
from pydantic import ConfigDict

from job import cgroup
from job.artifacts import Frozen
from job.errors import JobError, named
from job.logs import log
from job.node import gpu_memory_used
from job.run.records import parsed
from job.store import Store

POINTS = 600
FIRST_PAUSE_S = 1.0
WRITE_EVERY_S = 60.0
SHORT = 0.85
"""From this share of the limit on, a death without a message is put down to memory."""


class Usage(Frozen):
    """One attempt's memory: its start (seconds since 1970), and for each point in time the seconds since the start, the
    stage, the anonymous memory of the job's processes and the GPU's used memory, both in bytes. `gpu` is None without a
    GPU. `used`: what counted against the container's `limit` at the last point; None without a limit. A later release
    may write more fields."""

    model_config = ConfigDict(extra="ignore")

    began: float
    limit: int | None = None
    used: int | None = None
    seconds: list[float] = []
    stages: list[str] = []
    memory: list[int] = []
    gpu: list[int] | None = None


class UsageLog:
    """Measures until it is closed. A failed write is a warning, not an error."""

    def __init__(self, store: Store, run: str, attempt: int, stage: Callable[[], str]) -> None:
        self._store, self._key, self._stage = store, usage_key(run, attempt), stage
        self._began, self._start = time.time(), time.monotonic()
        self._points: list[tuple[float, str, int, int | None]] = []
        self._pause, self._written = FIRST_PAUSE_S, self._start
        self._closed, self._wanted = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, name="usage", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._closed.is_set():
            is_wanted = self._wanted.wait(self._pause)
            self._wanted.clear()
            if self._closed.is_set():
                return
            self._measure()
            if is_wanted or time.monotonic() - self._written > WRITE_EVERY_S:
                self.flush()

    def _measure(self) -> None:
        now = time.monotonic() - self._start
        try:
            self._points.append((now, self._stage(), anonymous_memory(), gpu_used()))
        except (psutil.Error, OSError, ValueError):  # a process that ended while it was read, or no /proc
            return
        if len(self._points) > POINTS:
            self._points, self._pause = self._points[::2], self._pause * 2

    def look_now(self) -> None:
        """Measures and writes at once, in the thread that does: the process may not live until the next time."""
        self._wanted.set()

    def flush(self) -> None:
        """Writes the values measured so far."""
        self._written, points, held = time.monotonic(), list(self._points), cgroup.memory()
        usage = Usage(
            began=self._began,
            limit=held.limit if held else None,
            used=held.used if held else None,
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
        """Measures once more, since what the run costs is counted to its last point, and writes the rest."""
        self._closed.set()
        self._wanted.set()
        self._thread.join()
        self._measure()
        self.flush()


def usage_key(run: str, attempt: int) -> str:
    """Where an attempt's memory is kept."""
    return f"runs/{run}/usage/{attempt:04d}.json"


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


def died_of_memory(store: Store, run: str, attempt: int) -> str:
    """Why an attempt died without a message: a text if memory was short when it was last measured, else nothing."""
    try:
        found = store.get(usage_key(run, attempt))
        usage = parsed(Usage, store, usage_key(run, attempt), found[0]) if found else None
    except JobError as error:
        log.warning("usage.unreadable", why=error.message)
        return ""
    if usage is None or not usage.limit or not usage.used or usage.used < SHORT * usage.limit:
        return ""
    return (
        f"it ended without a message when it used {usage.used / 1e9:.2f} GB of the {usage.limit / 1e9:.2f} GB of "
        "memory that its container may use: most likely the kernel killed everything in the container for memory"
    )


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
