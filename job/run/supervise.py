"""Runs a stage as a child process, so that memory and the CUDA context return when it ends.

The child is `python -m job stage NAME FOLDER`. FOLDER holds `inputs.json` (the spec and the stage's
inputs), and the child writes a complete `result.json` or `error.json` there. It logs one JSON object a line to
stdout; the parent logs each again, with the attempt and a sequence number.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from job import errors
from job.artifacts import Frozen, write_json
from job.errors import Bug, JobError, every_error
from job.logs import log
from job.node import _memory_kills
from job.spec import JobSpec

OnEvent = Callable[[dict[str, Any]], None]


class ChildKilled(Exception):
    """A child process ended by a signal that we did not send, usually the kernel's SIGKILL for memory."""

    def __init__(self, stage: str, number: int, for_memory: bool) -> None:
        why = "the kernel killed it for memory" if for_memory else "the reason is unknown, probably too little memory"
        super().__init__(f"{stage} was killed by signal {signal.Signals(number).name}: {why}")
        self.for_memory = for_memory


class Terminated(BaseException):
    """SIGTERM or SIGINT arrived. Not an Exception, so that no library's retry swallows it."""

    def __str__(self) -> str:
        return "stopped by a signal"


class Supervisor:
    """Passes SIGTERM on to the child that runs, or raises Terminated in the parent if none runs."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._child: subprocess.Popen[str] | None = None

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

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

    def run_stage(
        self, module: ModuleType, spec: JobSpec, inputs: Frozen, folder: Path, on_event: OnEvent | None = None
    ) -> Any:
        """Runs one stage to its Result.

        Raises the JobError that the child raised, ChildKilled when a signal ended it, and Terminated
        when it ended because the job is being stopped.
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
        kills_before = _memory_kills()
        status, tail = self._run([sys.executable, "-m", "job", "stage", name, str(folder)], on_event)
        if self.stopping.is_set() and not result.is_file() and not fault.is_file():
            raise Terminated
        if status < 0:
            raise ChildKilled(name, -status, _memory_kills() > kills_before)
        if fault.is_file():
            raise _rebuilt(json.loads(fault.read_text()))
        if status != 0 or not result.is_file():
            kind = next((one for one in every_error() if one.code == status), Bug)  # a full disk has no error.json
            raise kind(f"{name} exited {status} without a result\n" + "\n".join(tail))
        return module.Result.model_validate_json(result.read_text())

    def _run(self, command: list[str], on_event: OnEvent | None) -> tuple[int, list[str]]:
        tail: deque[str] = deque(maxlen=20)
        if self.stopping.is_set():
            raise Terminated
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # a terminal's Ctrl-C is for the parent, which lets the child save
        )
        self._child = child
        try:
            if self.stopping.is_set():
                child.send_signal(signal.SIGTERM)
            assert child.stdout
            for line in child.stdout:
                record = _record(line)
                if record is None:
                    tail.append(line.rstrip())
                    continue
                if on_event:
                    on_event(dict(record))
                level, event = record.pop("level", "info"), record.pop("event")
                getattr(log, level if level in ("debug", "warning", "error") else "info")(event, **record)
            return child.wait(), list(tail)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdout:
                child.stdout.close()
            self._child = None


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "event" in record else None


def _rebuilt(fault: dict[str, str]) -> JobError:
    kind = getattr(errors, fault["error"], Bug)
    rebuilt: JobError = kind(fault["message"], hint=fault["hint"])
    return rebuilt
