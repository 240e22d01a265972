"""Two threads beside the main one, for work whose parts need different things: the CPU, the GPU, the network.

The main thread, which gets the signals, does what needs the GPU. However one of the three fails, or a signal ends the
main one, the programs of all of them end at once.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from job.llama_cpp import process

Given = ParamSpec("Given")
Made = TypeVar("Made")
PATIENCE_S = 5.0
"""How long an end waits for what is being made, whose program has been ended."""
NICENESS = 10
"""Of what is made beside, above the job's own: programs that feed a GPU come first."""


class Lanes:
    """`make` is for programs on the CPU, `upload` for the network; each does one thing after another."""

    def __init__(self, *, beside: bool) -> None:
        """`beside`: whether something is made while the main thread works, and not while it waits for it."""
        self._programs = process.Group()
        self._failure: BaseException | None = None
        self._busy = threading.Lock()
        self._make = ThreadPoolExecutor(1, "make", initializer=_yield_to_others if beside else None)
        self._upload = ThreadPoolExecutor(1, "upload")

    def __enter__(self) -> Self:
        self._token = process.group.set(self._programs)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        process.group.reset(self._token)
        self._programs.stop()
        for lane in (self._make, self._upload):
            lane.shutdown(wait=False, cancel_futures=True)  # an upload that hangs must not hold up the end
        if self._busy.acquire(timeout=PATIENCE_S):  # so that what it says comes before the run's own last word
            self._busy.release()
        if isinstance(error, process.Stopped) and self._failure:
            raise self._failure from None

    def make(self, function: Callable[Given, Made], *given: Given.args, **options: Given.kwargs) -> Future[Made]:
        made = partial(self._made, function, *given, **options)
        return self._follow(self._make.submit(copy_context().run, made))

    def upload(self, function: Callable[Given, Made], *given: Given.args, **options: Given.kwargs) -> Future[Made]:
        return self._follow(self._upload.submit(copy_context().run, partial(function, *given, **options)))

    def _made(self, function: Callable[Given, Made], *given: Given.args, **options: Given.kwargs) -> Made:
        """In the thread: a signal may end the main one before it knows of the future."""
        with self._busy:
            self._programs.check()
            return function(*given, **options)

    def _follow(self, future: Future[Made]) -> Future[Made]:
        future.add_done_callback(self._end_on_failure)
        return future

    def _end_on_failure(self, future: Future[Made]) -> None:
        if not future.cancelled() and (error := future.exception()):
            self._failure = self._failure or error  # an error that is raised because of the first comes later
            self._programs.stop()


def _yield_to_others() -> None:
    """On Linux each thread has a niceness of its own, which the programs that it starts inherit."""
    os.nice(NICENESS)
