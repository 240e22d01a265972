"""Runs external programs: list arguments, the quoted command in the log, the tail of stderr in the error.

Threads that run programs for one end share a `Group`, so that a failure of one ends what the others run.
"""

import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from typing import IO

from job.errors import Bug, JobError, StorageFailed
from job.logs import log
from job.redaction import redact

TAIL_LINES = 20


class Stopped(BaseException):
    """The group of a program was stopped. Not an Exception, so that nobody takes it for a fault of the program."""

    def __str__(self) -> str:
        return "stopped, because the run ends"


class Group:
    """Programs that can be ended at once, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_stopped = False

    def stop(self) -> None:
        """Kills every program of the group. Its threads get Stopped, now or when they start the next one."""
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.kill()

    @contextmanager
    def member(self, start: Callable[[], subprocess.Popen[str]]) -> Iterator[subprocess.Popen[str]]:
        """A program of the group, as long as the block lasts. Raises Stopped."""
        with self._lock:
            self.check()
            process = start()
            self._running.add(process)
        try:
            yield process
        finally:
            with self._lock:
                self._running.discard(process)
        self.check()

    def check(self) -> None:
        """Raises Stopped if the group is stopped."""
        if self._is_stopped:
            raise Stopped


group: ContextVar[Group] = ContextVar("group", default=Group())  # noqa: B039 - one group for all who set none
"""The group of the programs that this thread runs."""


def run(
    command: Sequence[str | Path],
    *,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[subprocess.Popen[str]], None] | None = None,
    line_ends: str = "\n",
    error: type[JobError] = Bug,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float | None = None,
) -> str:
    """Runs a program to its end and returns its stdout.

    `on_start` gets the program when it runs, `on_line` each line of stderr and stdout as it is written. Some programs
    count on one line of stdout, so `line_ends` can name further characters that end a line there. Raises `error` (or
    StorageFailed if the program reports a full disk) with the command and the last lines of its output if it exits
    non-zero, is killed by a signal, or takes longer than `timeout_s`.
    """
    arguments = [str(part) for part in command]
    quoted = redact(shlex.join(arguments))
    log.debug("command", command=quoted)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    out: list[str] = []
    start = partial(
        subprocess.Popen,
        arguments,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        cwd=cwd,
        env=env,
    )
    expired = threading.Event()

    def hear_error(line: str) -> None:
        tail.append(line.rstrip())
        if on_line:
            on_line(line.rstrip())

    def hear(line: str) -> None:
        out.append(line)
        if on_line:
            on_line(line.rstrip())

    with group.get().member(start) as process, _at_most(process, timeout_s, expired):
        if on_start:
            on_start(process)
        status = _follow(process, stdin, line_ends, hear, hear_error)
    if status == 0:
        return "".join(out)
    said = redact("\n".join(list(tail) or [line.rstrip() for line in out[-TAIL_LINES:]]))
    if "No space left on device" in said:
        raise StorageFailed(f"the disk is full: {quoted}\n{said}", hint="Give the work directory more disk.")
    if expired.is_set():
        how = f"took longer than {timeout_s:.0f} s"
    elif status < 0:
        how = f"was killed by signal {-status}"
    else:
        how = f"exited {status}"
    raise error(f"{quoted} {how}\n{said}")


@contextmanager
def _at_most(process: subprocess.Popen[str], timeout_s: float | None, expired: threading.Event) -> Iterator[None]:
    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout_s, expire) if timeout_s else None
    if timer:
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()


def _follow(
    process: subprocess.Popen[str],
    stdin: str | None,
    line_ends: str,
    hear: Callable[[str], None],
    hear_error: Callable[[str], None],
) -> int:
    """Reads a program's output to its end. Returns its exit status."""
    assert process.stdout and process.stderr
    errors = process.stderr

    def read_stderr() -> None:
        for line in errors:
            hear_error(line)

    # In this thread's context: what it logs belongs to the same stage.
    reader = threading.Thread(target=copy_context().run, args=(read_stderr,), daemon=True)
    reader.start()
    try:
        if stdin is not None:
            assert process.stdin
            try:
                process.stdin.write(stdin)
                process.stdin.close()
            except BrokenPipeError:
                pass
        for line in _lines(process.stdout, line_ends):
            hear(line)
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join()
        for stream in (process.stdout, process.stderr):
            stream.close()


def _lines(stream: IO[str], ends: str) -> Iterator[str]:
    if ends == "\n":
        yield from stream
        return
    line = ""
    while character := stream.read(1):
        line += character
        if character in ends:
            yield line
            line = ""
    if line:
        yield line
