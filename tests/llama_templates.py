"""The chat templates that llama.cpp's source carries for its own tests, taken from the pinned sdist."""

import getpass
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests import ROOT


@cache
def templates() -> Path:
    """The folder, made once a machine and pinned version."""
    pinned = hashlib.sha256((ROOT / "requirements" / "llama-cpp.txt").read_bytes()).hexdigest()[:12]
    root = Path(tempfile.gettempdir()) / f"pytest-of-{getpass.getuser()}"
    folder = root / f"llama-templates-{pinned}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as making:
            source = Path(making) / "source"
            command = [ROOT / "scripts" / "build-llama.sh", "--source", source]
            subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHON": sys.executable})
            found = source / "models" / "templates"
            try:
                found.rename(folder)
            except OSError:  # another test process was first
                shutil.rmtree(found)
    return folder
