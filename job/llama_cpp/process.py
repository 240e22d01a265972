"""Runs external programs: list arguments, the quoted command in the log, the tail of stderr in the error."""

import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from job.errors import Bug, JobError, StorageFailed
from job.logs import log
from job.redaction import redact

TAIL_LINES = 20


def run(
    command: Sequence[str | Path],
    *,
    on_line: Callable[[str], None] | None = None,
    line_ends: str = "\n",
    error: type[JobError] = Bug,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float | None = None,
) -> str:
    """Runs a program to its end and returns its stdout.

    `on_line` gets each line of stderr and stdout as it is written. Some programs count on one line of stdout, so
    `line_ends` can name further characters that end a line there. Raises `error` (or StorageFailed if the program
    reports a full disk) with the command and the last lines of its output if it exits non-zero, is killed by a
    signal, or takes longer than `timeout_s`.
    """
    arguments = [str(part) for part in command]
    quoted = redact(shlex.join(arguments))
    log.debug("command", command=quoted)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    out: list[str] = []
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=cwd,
        env=env,
    )
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        process.kill()

    timer = threading.Timer(timeout_s, expire) if timeout_s else None
    if timer:
        timer.start()

    def read_stderr() -> None:
        assert process.stderr
        for line in process.stderr:
            tail.append(line.rstrip())
            if on_line:
                on_line(line.rstrip())

    reader = threading.Thread(target=read_stderr, daemon=True)
    reader.start()
    try:
        if stdin is not None:
            assert process.stdin
            try:
                process.stdin.write(stdin)
                process.stdin.close()
            except BrokenPipeError:
                pass
        assert process.stdout
        for line in _lines(process.stdout, line_ends):
            out.append(line)
            if on_line:
                on_line(line.rstrip())
        status = process.wait()
    finally:
        if timer:
            timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()
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
