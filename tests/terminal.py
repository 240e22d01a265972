"""A program with a terminal of its own, as a person starts one."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

CTRL_C = b"\x03"
_IN_A_SESSION = """
import fcntl, os, signal, sys, termios
os.setsid()
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it: so might the tests
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command in its own session; what it writes is read all the time, as a terminal does."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self.screen = b""
        self._side, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _IN_A_SESSION, *map(str, command)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm", "COLUMNS": "100"},
            cwd=folder,
        )
        os.close(theirs)

    @property
    def text(self) -> str:
        """What it has written, without what moves the cursor or colours."""
        return _CONTROL.sub("", self.screen.decode(errors="replace")).replace("\r\n", "\n")

    def press(self, keys: bytes) -> None:
        os.write(self._side, keys)

    def read_until(self, done: Callable[[], object], timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < until, self.text[-3000:]
            if select.select([self._side], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self._side, 1 << 16)
                except OSError:  # the last process that had the terminal has ended
                    return

    def ended(self, timeout_s: float = 120) -> int:
        """Reads to the end; the exit code."""
        self.read_until(lambda: self.process.poll() is not None, timeout_s)
        while select.select([self._side], [], [], 0)[0]:
            try:
                self.screen += os.read(self._side, 1 << 16)
            except OSError:
                break
        return self.process.wait(timeout=10)

    def interrupted(self) -> int:
        """Presses Ctrl-C at a prompt, and again if nothing ends, as a person does; the exit code. Python loses one that
        comes between readline's prompt and its wait for a key (Modules/readline.c, readline_until_enter_or_signal)."""
        for _ in range(4):
            self.press(CTRL_C)
            with suppress(AssertionError):
                return self.ended(10)
        return self.ended()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._side)
