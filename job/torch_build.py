"""Asks the installed torch what it was built for, in a process of its own: the run's parent never imports torch."""

import json
import subprocess
import sys
from typing import NamedTuple

_ASK = """
import json, torch
flags = torch._C._cuda_getArchFlags() if torch.version.cuda else None
print("\\n" + json.dumps([torch.__version__, torch.version.cuda, (flags or "").split()]))
"""
TIMEOUT_S = 300
"""Torch is read from a cold disk."""


class TorchBuild(NamedTuple):
    """`cuda`: the version of CUDA, None without it. `architectures`: e.g. `sm_75`."""

    version: str
    cuda: str | None
    architectures: tuple[str, ...]


def ask() -> TorchBuild | None:
    """None if torch cannot be imported: training itself will say why."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK], capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    version, cuda, architectures = json.loads(done.stdout.splitlines()[-1])
    return TorchBuild(version, cuda, tuple(architectures))
