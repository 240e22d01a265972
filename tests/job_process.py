"""Runs the job as its users do: a spec file, the environment, an exit code, events on stdout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import forks

Event = dict[str, Any]
_IGNORES_MODES = "-dac_override,-dac_read_search"
AS_A_USER = ("setpriv", f"--bounding-set={_IGNORES_MODES}", f"--inh-caps={_IGNORES_MODES}") if os.geteuid() == 0 else ()
"""Runs a command so that the modes of files hold, for root too."""


@dataclass
class Ended:
    """How a run ended."""

    code: int
    events: list[Event]
    output: str

    def named(self, event: str) -> list[Event]:
        return [one for one in self.events if one["event"] == event]

    def stages_run(self) -> set[str]:
        return {one["stage"] for one in self.named("stage.start")}


def environment(work: Path, extra: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment, for a child that works in `work` on one thread."""
    return os.environ | {"FINETUNE_WORK": str(work), "OMP_NUM_THREADS": "1"} | (extra or {})


@contextmanager
def started(
    spec: dict[str, Any],
    work: Path,
    extra: dict[str, str] | None = None,
    under: tuple[str, ...] = (),
    *,
    real: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """A job in a process group of its own, so that a test can kill all of it, as a node's end does.

    `under`: a command that runs it, in mounts of its own maybe. `real`: nothing but processes of their own; without it,
    the job and its stages are forked from processes that have imported what they need (`tests/forks.py`).
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / "spec.json"
    path.write_text(json.dumps(spec))
    environ = environment(work, extra)
    job = ["job"] if real else ["tests.run_forked", forks.python()]
    python = sys.executable if real or "LD_PRELOAD" in environ else forks.python()
    process = subprocess.Popen(
        [*under, python, "-m", *job, "run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        kill(process)
        assert process.stdout
        process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the whole group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def follow(process: subprocess.Popen[str], on_event: Callable[[Event], None] | None = None) -> Ended:
    """Reads a job to its end; `on_event` sees each event as it comes."""
    events, output = [], []
    assert process.stdout
    for line in process.stdout:
        output.append(line)
        if line.startswith("{"):
            event = json.loads(line)
            events.append(event)
            if on_event:
                on_event(event)
    return Ended(process.wait(), events, "".join(output))


def run_job(
    spec: dict[str, Any],
    work: Path,
    extra: dict[str, str] | None = None,
    on_event: Callable[[subprocess.Popen[str], Event], None] | None = None,
    under: tuple[str, ...] = (),
    *,
    real: bool = False,
) -> Ended:
    """Runs a spec to its end."""
    with started(spec, work, extra, under, real=real) as process:
        return follow(process, (lambda event: on_event(process, event)) if on_event else None)
