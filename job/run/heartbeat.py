"""A run is never silent: if nothing was said for some seconds, this says what is at work, and for how long.

Most long work reports its own progress. This is for the rest: a library that loads a model, a step of training that
takes a minute, a store that is slow.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from job.logs import Record, log
from job.sentences import sentence, stage_title

SILENT_S = 4.0
_ANNOUNCES = {"train.loading_model"}
"""Events that announce the work that follows them."""


class Heartbeat:
    """A sink for `job.logs.configure` that logs `progress` without a total after `silent_s` seconds of silence."""

    def __init__(self, silent_s: float = SILENT_S) -> None:
        self._silent_s = silent_s
        self._said = self._began = time.monotonic()
        self._what, self._stage = "starting", ""
        self._closed = threading.Event()

    def __call__(self, record: Record) -> None:
        now = time.monotonic()
        if record.get("level") != "debug":  # a terminal and the store's events do not have those
            self._said = now
        if what := _announced(record):
            self._what, self._stage, self._began = what, str(record.get("stage") or self._stage), now

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Speaks as long as the block lasts."""
        thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            thread.join()

    def _beat(self) -> None:
        while not self._closed.wait(max(0.05, self._said + self._silent_s - time.monotonic())):
            now = time.monotonic()
            if now - self._said >= self._silent_s:
                where = {"stage": self._stage} if self._stage else {}
                elapsed = round(now - self._began, 1)
                log.info("progress", what=self._what, done=None, total=None, unit="", elapsed_s=elapsed, **where)


def _announced(record: Record) -> str | None:
    """The work that an event says is at hand; None for all others."""
    event = record.get("event")
    if event in ("stage.start", "train.log", "train.held_out"):
        return stage_title(record)
    if event == "stage.end":
        return f"{stage_title(record)}: storing"
    if event == "progress":
        return None if record.get("total") is None else str(record["what"])
    if event == "command":
        return str(record["command"]).split()[0].rsplit("/", 1)[-1].strip("'")
    return sentence(record) if event in _ANNOUNCES else None
