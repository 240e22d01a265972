"""Escapes text by others for logs and pages, so that it can only be read there.

A runner interprets some lines of a job's output as commands: GitHub those that begin with `::` or contain `##[`
(https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands), GitLab `section_start:` after an
escape sequence. So everything that is printed goes through `harmless`, whichever library prints it.
"""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from job import escape
from job.redaction import redact

_COMMAND = re.compile(r"^(\s*)::", re.M)


def shown(text: bytes | str) -> str:
    """The text on one line, with invisible characters escaped: `\\n`, `\\xff`."""
    return escape.one_line(text.decode(errors="backslashreplace") if isinstance(text, bytes) else text)


def harmless(text: str) -> str:
    """The text without control characters and without lines that a runner would interpret as commands."""
    return _COMMAND.sub(r"\1: :", escape.harmless(text)).replace("##[", "## [")


def code(text: str) -> str:
    """A Markdown code span, in which links, mentions, HTML and column separators have no effect."""
    text = shown(redact(text)).replace("|", "\\|").strip() or " "
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def block(text: str) -> str:
    """A fenced block that the lines in it cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{escape.harmless(redact(text)).rstrip()}\n{fence}"


@contextmanager
def harmless_output() -> Iterator[None]:
    """For as long as the block lasts, everything that this process writes to stdout and stderr goes through
    `harmless`."""
    sys.stdout.flush()
    sys.stderr.flush()
    streams = [_Filtered(1), _Filtered(2)]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in streams:
            stream.close()


class _Filtered:
    """A file descriptor with a filter before it."""

    def __init__(self, number: int) -> None:
        self._number, self._real = number, os.dup(number)
        reading, writing = os.pipe()
        os.dup2(writing, number)
        os.close(writing)
        self._thread = threading.Thread(target=self._pass_on, args=(reading,), daemon=True)
        self._thread.start()

    def _pass_on(self, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="backslashreplace", newline="\n") as lines:
            for line in lines:
                self._write(harmless(line).encode())

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._real, data) :]

    def close(self) -> None:
        os.dup2(self._real, self._number)  # closes the pipe, so that the thread ends
        self._thread.join()
        os.close(self._real)


def one_line(value: Any, most: int) -> str:
    """At most `most` characters of a text, on one line."""
    text = shown(redact(" ".join(str(value).split())))
    return text if len(text) <= most else text[: most - 1] + "…"
