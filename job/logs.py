"""Logging with structlog: one JSON object a line, each redacted, and the span around a stage.

Every record has `event`, `level` and `time` (UTC); those of a stage have `stage`. The parent process
adds `run`, `attempt` and `seq` to its own records and to those it reads from its children, passes each to its
sinks (the run store, the console) and writes it to stdout. Children write plain lines to a pipe of their own
(`job.run.supervise`). structlog is imported when something is logged: a command that logs nothing starts sooner.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TextIO

from job import strict_json
from job.escape import harmless_json
from job.redaction import redact_all

Record = MutableMapping[str, Any]


class _Log:
    """A logger of structlog."""

    def __getattr__(self, name: str) -> Any:
        import structlog

        return getattr(structlog.get_logger(), name)


log = _Log()


def configure(*sinks: Callable[[Record], None], to_stdout: bool = True, stream: TextIO | None = None) -> None:
    """Sets structlog up. Each sink gets every record, redacted, before it is written to stdout, or to `stream`.

    One record at a time: a sink numbers them, and threads that log at once must not write them in another order.
    """
    import structlog

    utc_now = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")
    out, turn = stream or sys.stdout, threading.RLock()  # a sink may log, too

    def deliver(_: Any, __: str, record: Record) -> Record:
        with turn:
            for sink in sinks:
                sink(record)
            if to_stdout:
                out.write(f"{_line(record)}\n")
                out.flush()
        raise structlog.DropEvent

    def stamped(logger: Any, name: str, record: Record) -> Record:
        """Stamps the time, unless the record comes from a child that has stamped it."""
        return record if "time" in record else utc_now(logger, name, record)

    def redacted(_: Any, __: str, record: Record) -> Record:
        clean: Record = redact_all(dict(record))
        return clean

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamped,
            structlog.processors.format_exc_info,
            redacted,
            deliver,
        ],
        cache_logger_on_first_use=False,
    )


def _line(record: Record) -> str:
    return harmless_json(strict_json.dumps(record, ensure_ascii=False, default=str))


@contextmanager
def span(stage: str, **fields: Any) -> Iterator[None]:
    """`stage.start`, then `stage.end` or `stage.error` with the seconds it took. `fields` are in every record between:
    two threads may be at the same stage."""
    import structlog

    with structlog.contextvars.bound_contextvars(stage=stage, **fields):
        started = time.monotonic()
        log.info("stage.start")
        try:
            yield
        except BaseException as error:
            words = str(error) or type(error).__name__
            log.error("stage.error", seconds=round(time.monotonic() - started, 1), error=words[:2000])
            raise
        log.info("stage.end", seconds=round(time.monotonic() - started, 1))


class Progress:
    """Progress of one long piece of work, as `progress` events: what, done, total, unit, ETA in seconds.

    At most one event every `every_s` seconds, and the last one (done == total). Work that takes less has no event.
    """

    def __init__(self, what: str, total: float | None, unit: str, *, every_s: float = 2.0) -> None:
        self.what, self.total, self.unit, self.every_s = what, total, unit, every_s
        self._started = self._said = time.monotonic()

    def update(self, done: float, **fields: Any) -> None:
        now = time.monotonic()
        finished = self.total is not None and done >= self.total
        if now - (self._started if finished else self._said) < self.every_s:
            return
        self._said = now
        elapsed = now - self._started
        if self.total and done:
            fields["eta_s"] = round(elapsed * (self.total - done) / done)
        log.info("progress", what=self.what, done=done, total=self.total, unit=self.unit, **fields)
