"""Runs parts as processes of their own: one that fails, or takes too long, becomes a line, and the others run."""

import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from bench.gpu.parts import PARTS, Part
from bench.gpu.record import ROOT, Bench, Line
from job import logs
from job.run.child import refuse_hub_kernels

WHOLE = "the whole part"
"""The case of a line about a part that has not come to its end."""

BUSY_CPU = 5
"""How much longer the parts may take with tiny models on a CPU, which others use too."""


class Running(NamedTuple):
    """`log_from`: where its words begin in the log."""

    part: Part
    process: subprocess.Popen[bytes]
    started: float
    log_from: int

    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 1)


def run(parts: Iterable[Part], bench: Bench) -> list[Line]:
    """Runs them and gives the lines that they have written. What a part has written before it failed stays.

    They run in order, but one that has to wait for what runs in the background lets others go first. KeyboardInterrupt
    ends what runs, which its lines tell; parts that were not reached have no line.
    """
    before, left = len(bench.lines()), list(parts)
    under_way: dict[str, Running] = {}
    try:
        while left or under_way:
            for name in [name for name, running in under_way.items() if running.process.poll() is not None]:
                finish(under_way.pop(name), bench)
            part = next((one for one in left if not waits(one, left, under_way)), None)
            if part is None:
                wait_for(next(iter(under_way)), under_way, bench)
                continue
            left.remove(part)
            failed = {line["part"] for line in bench.lines()[before:] if "error" in line}
            if lacking := [name for name in part.needs if name in failed]:
                bench.record(part.name, WHOLE, error=f"not started, because `{lacking[0]}` failed")
                continue
            under_way[part.name] = start(part, bench)
            if not part.background:
                wait_for(part.name, under_way, bench)
    except KeyboardInterrupt:
        for name, running in under_way.items():
            bench.record(name, WHOLE, seconds=running.seconds(), error="the run was stopped")
    finally:
        for running in under_way.values():
            end(running.process)
    return bench.lines()[before:]


def waits(part: Part, left: list[Part], under_way: dict[str, Running]) -> bool:
    """Whether it needs what is not there yet, or the machine for itself."""
    missing = {*under_way, *(one.name for one in left)}
    return not missing.isdisjoint(part.needs) or (part.alone and bool(under_way))


def wait_for(name: str, under_way: dict[str, Running], bench: Bench) -> None:
    finish(under_way[name], bench)
    del under_way[name]


def start(part: Part, bench: Bench) -> Running:
    bench.out.mkdir(parents=True, exist_ok=True)
    bench.work.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bench.gpu", "--child", part.name]
    command += ["--work", str(bench.place), "--out", str(bench.out), *(["--tiny"] if bench.tiny else [])]
    with bench.log.open("ab") as log:
        log.write(f"\n== {part.name}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"FINETUNE_LLAMA": str(bench.llama)} | os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # so that what it has started ends with it
        )
        return Running(part, process, time.monotonic(), log.tell())


def finish(running: Running, bench: Bench) -> None:
    """Waits until the part ends, or ends it; a line says what went wrong, with the last words of the log."""
    part, process, started, log_from = running
    limit = part.limit_s * (BUSY_CPU if bench.tiny else 1)
    code: int | None = None
    with suppress(subprocess.TimeoutExpired):
        code = process.wait(max(0.0, started + limit - time.monotonic()))
    end(process)
    if code == 0:
        return
    how = f"took longer than {limit:g} s" if code is None else f"ended with {code}"
    words = re.split(r"[\r\n]", bench.log.read_bytes()[log_from:].decode(errors="replace"))  # \r: progress bars
    last = next((line.strip() for line in reversed(words) if line.strip()), "it printed nothing")
    bench.record(part.name, WHOLE, seconds=running.seconds(), error=f"{how}: {last[:500]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills it and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child(name: str, bench: Bench) -> None:
    """One part, in this process."""
    logs.configure()
    refuse_hub_kernels()
    part = next(one for one in PARTS if one.name == name)
    importlib.import_module(f"bench.gpu.{part.module}").run(replace(bench, part=name), *part.arguments)
