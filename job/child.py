"""The child's side of `job.supervise`: inputs.json -> a stage's run -> result.json or error.json."""

import ctypes
import importlib
import json
import os
import signal
from pathlib import Path

from job import logs
from job.artifacts import write_json
from job.errors import Bug, JobError, named
from job.spec import JobSpec
from job.training.numerics import refuse_hub_kernels

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run_stage(name: str, folder: Path) -> int:
    """Runs one stage in this process and gives the exit code. A bug passes through."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before the call
        return 70
    logs.configure()
    refuse_hub_kernels()
    module = importlib.import_module(f"job.stages.{name}")
    given = json.loads((folder / "inputs.json").read_text())
    spec = JobSpec.model_validate(given["spec"])
    inputs = module.Inputs.model_validate(given["inputs"])
    try:
        with logs.span(name):
            result = module.run(spec, inputs, folder)
    except (JobError, OSError) as problem:
        error = named(problem)
        if isinstance(error, Bug) and error is not problem:
            raise  # with its traceback
        write_json(folder / "error.json", {"error": type(error).__name__, "message": error.message, "hint": error.hint})
        return error.code
    write_json(folder / "result.json", result.model_dump(mode="json"))
    return 0
