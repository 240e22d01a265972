"""The child's side of `job.run.supervise`: inputs.json -> a stage's run -> result.json or error.json."""

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TextIO

from job import library_warnings, logs, node
from job.artifacts import write_json
from job.errors import DISK_HINT, Bug, StorageFailed, kind_of, named
from job.spec import JobSpec

STAGES = {
    "rehearse": "job.rehearsal.stage",
    "fetch": "job.fetch.stage",
    "agree": "job.agreement.stage",
    "train": "job.train.stage",
    "measure": "job.train.measure",
    "tasks": "job.tasks.stage",
    "answer": "job.train.answer",
    "export": "job.export.stage",
    "tokens": "job.tokens.stage",
}
"""The stages that run as a child process, by their NAME: the module is imported in the child alone."""
RESERVE = 1 << 16
"""Bytes that are kept on the disk while a stage runs, so that it can say that the disk is full."""
HUB_KERNELS = "kernels"
"""The package that downloads native code from the Hub and runs it. bitsandbytes (backends/cpu/ops.py) and transformers
(integrations/hub_kernels.py) call it wherever it is installed."""


def run_stage(name: str, folder: Path, events: int) -> int:
    """Runs one stage in this process and returns the exit code. A bug is raised with its traceback.

    `events`: the descriptor of the pipe that the parent reads events from.
    """
    parent = os.getppid()
    node.bound_to_parent()()
    if os.getppid() != parent:  # the parent died before the call
        return 70
    logs.configure(stream=event_stream(events))
    if name != "rehearse":  # what it would warn of, the stages themselves do
        library_warnings.forward()
    refuse_hub_kernels()
    module = importlib.import_module(STAGES[name])
    given = json.loads((folder / "inputs.json").read_text(encoding="utf-8"))
    spec = JobSpec.model_validate(given["spec"])
    inputs = module.Inputs.model_validate(given["inputs"])
    reserve = folder / "reserve"
    try:
        reserve.write_bytes(bytes(RESERVE))
    except OSError as problem:
        raise StorageFailed(f"{name} cannot write to {folder}: {problem.strerror}", hint=DISK_HINT) from problem
    try:
        with logs.span(name):
            result = module.run(spec, inputs, folder)
    except Exception as problem:
        error = named(problem)
        if isinstance(error, Bug) and error is not problem:
            raise  # with its traceback
        if isinstance(error, StorageFailed) and error is not problem:
            error = StorageFailed(f"{name} cannot write to {folder}: {error.message}", hint=error.hint)
        told = {"error": kind_of(error).__name__, "message": error.message, "hint": error.hint}
        reserve.unlink(missing_ok=True)
        write_json(folder / "error.json", told)
        return error.code
    reserve.unlink(missing_ok=True)
    write_json(folder / "result.json", result.model_dump(mode="json"))
    return 0


def event_stream(descriptor: int) -> TextIO:
    """The pipe for events. Programs that this process starts do not inherit it, and libraries, which may print what a
    file contains, write to stdout and stderr."""
    os.set_inheritable(descriptor, False)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def refuse_hub_kernels() -> None:
    """Hides that package from every library in this process, whether it is installed or not.

    So training depends only on the packages pinned in requirements/. Call it before anything imports bitsandbytes,
    transformers or PEFT.
    """
    sys.modules[HUB_KERNELS] = None  # type: ignore[assignment]  # makes an import raise ModuleNotFoundError
