"""Bounds on time and memory for work whose length others decide: templates, patterns and documents that came with a
model or a data set."""

import math
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Exceeded(Exception):
    """The work took more than it may."""


class _TimeUp(BaseException):
    """Not an Exception, so that no library swallows it."""


@contextmanager
def bounded(seconds: float, memory: int) -> Iterator[None]:
    """Ends the block after so many seconds of this process's CPU time, or if it takes so many more bytes.

    Python code and regular expressions are ended, calls into other libraries only when they return. Outside the main
    thread, where Python handles no signals, memory alone is bounded. Raises Exceeded.
    """
    is_main = threading.current_thread() is threading.main_thread()
    running = True

    def end(number: int, frame: FrameType | None) -> None:
        if running:
            raise _TimeUp

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [_data_bytes() + memory, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)]
    before = signal.signal(signal.SIGPROF, end) if is_main else None
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
        if is_main:
            signal.setitimer(signal.ITIMER_PROF, seconds, 1)
        yield
        running = False
    except _TimeUp:
        raise Exceeded(f"it takes more than {seconds:.0f} s") from None
    except MemoryError:
        raise Exceeded(f"it needs more than {memory >> 20} MB") from None
    finally:
        running = False
        if is_main:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def killed_after(seconds: float) -> Iterator[None]:
    """Has the kernel end this whole process (SIGXCPU) if the block takes so many seconds of CPU time: also within a
    library's call that never returns. For a child that others wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limits = [math.ceil(time.process_time() + seconds), *(one for one in (soft, hard) if one != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_CPU, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts (Linux, proc(5): data + stack)."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[5]) * os.sysconf("SC_PAGE_SIZE")
