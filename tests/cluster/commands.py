"""Commands "in pods": the streaming server of the real kubelet, which runs them on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests import ROOT

SOURCE = Path(__file__).parent / "exec" / "main.go"
MODULE = ROOT / "scripts" / "kubernetes"


@cache
def program() -> Path:
    """Built from the modules of the tests' Kubernetes, into the same cache."""
    files = [SOURCE, MODULE / "go.mod", MODULE / "go.sum"]
    key = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune-run"
    folder = Path(os.environ.get("FINETUNE_CACHE") or home) / "exec" / key
    if not (folder / "exec").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, folder)
        found = subprocess.run([ROOT / "scripts" / "find-go.sh"], check=True, capture_output=True, text=True)
        own = f"exec.{os.getpid()}"
        build = [found.stdout.strip(), "build", "-trimpath", "-mod=readonly", "-ldflags=-s -w", "-o", own, "."]
        environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
        subprocess.run(build, cwd=folder, env=environment, check=True)
        (folder / own).rename(folder / "exec")
    return folder / "exec"


class Commands:
    """The server, on a port of loopback. Its `python` is the one of the tests."""

    def __init__(self) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._process = subprocess.Popen(
            [program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | {"PATH": path}
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()
