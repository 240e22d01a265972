"""Runs a stage as a child process, so that memory and the CUDA context return when it ends.

The child is `python -m job stage NAME FOLDER`. FOLDER holds `inputs.json` (the spec and the stage's
inputs), and the child writes a complete `result.json` or `error.json` there.

Events come through a pipe of their own, one JSON object a line; the parent logs each again, with the attempt and a
sequence number. What the child prints is text: libraries print names and values out of a model's or a data set's files,
so a line that looks like an event is not one. Paths that a child reports must lie in the stage's folder.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import psutil
from pydantic import BaseModel

from job import library_warnings
from job.artifacts import Frozen, stays, write_json
from job.cgroup import memory_kills
from job.errors import Bug, IntegrityViolated, JobError, every_error
from job.logs import log
from job.spec import JobSpec

OnEvent = Callable[[dict[str, Any]], None]
LINE, EVENT = 4096, 1 << 20
"""Most characters of a line of output, and of an event, that are read at once: a child cannot fill PID 1."""


ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
"""The variables that configure torch's allocator; the second is the older name."""


class ChildKilled(Exception):
    """A child process ended by a signal that we did not send. `for_memory`: the kernel killed a process of this cgroup
    for memory meanwhile (`oom_kill` rose, docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files)."""

    def __init__(self, stage: str, number: int, for_memory: bool) -> None:
        why = "the kernel killed it for memory" if for_memory else "the kernel reports no kill for memory"
        super().__init__(f"{stage} was killed by signal {signal.Signals(number).name}: {why}")
        self.number, self.for_memory = number, for_memory


class Terminated(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that no library's retry swallows it."""

    def __str__(self) -> str:
        return "stopped by a signal"


class Supervisor:
    """Passes SIGTERM on to the child that runs, or raises Terminated in the parent if none runs. `fault`: what `end` is
    called with."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.fault: JobError | None = None
        self._child: subprocess.Popen[str] | None = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGUSR1, self._on_end)

    def _on_signal(self, number: int, _: Any) -> None:
        """The first one lets the child save. A second Ctrl-C ends everything at once; a second SIGTERM changes nothing,
        since whoever sends it follows with SIGKILL."""
        child = self._child
        works = child is not None and child.poll() is None
        if self.stopping.is_set():
            if number == signal.SIGINT:
                self.kill_child()
                raise Terminated
            return
        self.stopping.set()
        if child is None or not works:
            raise Terminated
        child.send_signal(signal.SIGTERM)
        threading.Thread(target=self._say_stopping, daemon=True).start()  # the log's lock may be held here

    @staticmethod
    def _say_stopping() -> None:
        log.warning("run.stopping", what="the stage that is at work may save first; Ctrl-C again stops at once")

    def kill_child(self) -> None:
        """Ends the child at once: another attempt owns the run."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()

    def end(self, fault: JobError) -> None:
        """Ends the run with an error, from another thread: at once, with every process that it has started."""
        if self.stopping.is_set():
            return
        self.fault = fault
        self.stopping.set()
        if main := threading.main_thread().ident:
            signal.pthread_kill(main, signal.SIGUSR1)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self, fault: JobError) -> None:
        """Ends the run with an error, from another thread, as SIGTERM would: the stage at work may save first."""
        if not self.stopping.is_set() and (main := threading.main_thread().ident):
            self.fault = fault
            signal.pthread_kill(main, signal.SIGTERM)

    def _on_end(self, number: int, _: Any) -> None:
        if self.fault and self._child is None:  # else run_stage raises it
            raise Terminated

    def run_stage(
        self, module: ModuleType, spec: JobSpec, inputs: Frozen, folder: Path, on_event: OnEvent | None = None
    ) -> Any:
        """Runs one stage to its Result.

        Raises the JobError that the child raised, ChildKilled when a signal ended it, Terminated
        when it ended because the job is being stopped, and the fault that the run is to end with.
        """
        name = module.NAME
        folder.mkdir(parents=True, exist_ok=True)
        result, fault = folder / "result.json", folder / "error.json"
        result.unlink(missing_ok=True)
        fault.unlink(missing_ok=True)
        write_json(
            folder / "inputs.json",
            {"spec": spec.model_dump(mode="json"), "inputs": inputs.model_dump(mode="json")},
        )
        kills_before = memory_kills()
        status, tail = self._run([sys.executable, "-m", "job", "stage", name, str(folder)], on_event)
        if self.fault:
            raise self.fault
        if self.stopping.is_set() and not result.is_file() and not fault.is_file():
            raise Terminated
        if status < 0:
            raise ChildKilled(name, -status, memory_kills() > kills_before)
        if fault.is_file():
            raise _rebuilt(json.loads(fault.read_text(encoding="utf-8")))
        if status != 0 or not result.is_file():
            kind = next((one for one in every_error() if one.code == status), Bug)  # a full disk has no error.json
            raise kind(f"{name} exited {status} without a result\n" + "\n".join(tail))
        found = module.Result.model_validate_json(result.read_text(encoding="utf-8"))
        check_paths(found, folder)
        return found

    def _run(self, command: list[str], on_event: OnEvent | None) -> tuple[int, list[str]]:
        if self.stopping.is_set():
            raise Terminated
        events, theirs = os.pipe()
        with os.fdopen(events, encoding="utf-8", errors="replace") as channel:
            try:
                child = subprocess.Popen(
                    [*command, str(theirs)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    env=environment(),
                    pass_fds=(theirs,),
                    start_new_session=True,  # a terminal's Ctrl-C is for the parent, which lets the child save
                )
            finally:
                os.close(theirs)
            return self._follow(child, channel, on_event)

    def _follow(
        self, child: subprocess.Popen[str], channel: IO[str], on_event: OnEvent | None
    ) -> tuple[int, list[str]]:
        tail: deque[str] = deque(maxlen=20)
        assert child.stdout
        output = threading.Thread(target=_log_output, args=(child.stdout, tail), name="output", daemon=True)
        self._child = child
        try:
            if self.stopping.is_set():
                child.send_signal(signal.SIGTERM)
            output.start()
            for line in _lines(channel, EVENT):
                if (record := _record(line)) is None:
                    continue
                if on_event:
                    on_event(dict(record))
                _log(record)
            status = child.wait()
            output.join(10)  # not for ever: a process that the child left behind may hold its stdout open
            return status, list(tail)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            output.join(10)
            if not output.is_alive():
                child.stdout.close()
            self._child = None


def environment() -> dict[str, str]:
    """The environment of a child. With expandable segments, batches of ever new lengths do not fragment the GPU's
    memory (docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-alloc-conf)."""
    found = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}
    return found if any(name in found for name in ALLOCATOR) else found | {ALLOCATOR[0]: "expandable_segments:True"}


def check_paths(result: BaseModel, folder: Path) -> None:
    """Raises IntegrityViolated if a path of a stage's result is not in its folder."""
    for path in _paths(result):
        path_within(folder, path)


def path_within(folder: Path, path: Path) -> Path:
    """A path that a child reported. Raises IntegrityViolated if it is not in a folder, also by way of a link."""
    if not stays(path, folder):
        raise IntegrityViolated(f"a stage reported the path {str(path)!r}, which is not in its folder {folder}")
    return path


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, BaseModel):
        yield from _paths(dict(value))
    elif isinstance(value, (dict, list, tuple)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _paths(part)


def _lines(stream: IO[str], most: int) -> Iterator[str]:
    """A stream's lines; one that is longer than `most` comes in pieces."""
    while line := stream.readline(most):
        yield line


def _log_output(stream: IO[str], tail: deque[str]) -> None:
    """What a child prints: its last lines are kept for an error, all of them are logged as text."""
    for line in _lines(stream, LINE):
        if text := line.rstrip():
            tail.append(text)
            log.debug("output", text=text)


def _log(record: dict[str, Any]) -> None:
    """Logs a child's event again; what another child has warned of is not repeated."""
    level, event = record.pop("level", "info"), record.pop("event")
    if event == library_warnings.EVENT:
        library_warnings.tell(**record)
    else:
        getattr(log, level if level in ("debug", "warning", "error") else "info")(event, **record)


def _record(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("event"), str) else None


def _rebuilt(fault: dict[str, str]) -> JobError:
    kinds = {kind.__name__: kind for kind in every_error()}
    return kinds.get(fault["error"], Bug)(fault["message"], hint=fault["hint"])
