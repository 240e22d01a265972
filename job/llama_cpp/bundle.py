"""The bundled llama.cpp: its folder, programs and version.

scripts/build-llama.sh builds it and lays it out: `bin/`, `convert/`, `VERSION`.
"""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from job.errors import EnvironmentUnfit

_CUDA = "cuda "
"""Begins the line of VERSION with the architectures."""


def _folder() -> Path:
    return Path(os.environ.get("FINETUNE_LLAMA") or Path(sys.prefix) / "llama.cpp")


def is_built() -> bool:
    """Whether the bundled llama.cpp is there."""
    return (_folder() / "VERSION").is_file()


@cache
def home() -> Path:
    """The folder of the bundled llama.cpp: $FINETUNE_LLAMA, else `llama.cpp` in the environment's prefix.

    Raises EnvironmentUnfit if it is not built.
    """
    folder = _folder()
    if not is_built():
        raise EnvironmentUnfit(
            f"llama.cpp is not in {folder}",
            hint="Run `make llama`, or set FINETUNE_LLAMA to the folder it was built in.",
        )
    return folder.resolve()


def program(name: str) -> Path:
    """The path of a program, e.g. `llama-quantize`."""
    path = home() / "bin" / name
    if not path.is_file():
        raise EnvironmentUnfit(f"the bundled llama.cpp has no {name}", hint="Build it again: `make llama`.")
    return path


def converter_path() -> Path:
    """The folder to put on sys.path so that `conversion` and `gguf` can be imported."""
    return home() / "convert"


@cache
def version() -> str:
    """The version that was built, e.g. `llama.cpp 0.5.0-dev, llama-cpp-python==0.3.36, patches 5f1a2b3c`: the same
    for a CPU and for a GPU."""
    lines = (home() / "VERSION").read_text(encoding="utf-8").splitlines()
    return ", ".join(line for line in lines if line and not line.startswith(_CUDA))


@cache
def architectures() -> tuple[str, ...]:
    """What its CUDA backend was built for, as CMake names them, e.g. `75`, `90-real`; empty without CUDA."""
    lines = (home() / "VERSION").read_text(encoding="utf-8").splitlines()
    built = next((line.removeprefix(_CUDA) for line in lines if line.startswith(_CUDA)), "")
    return tuple(one.strip() for one in built.split(";") if one.strip())


def devices() -> list[str]:
    """The GPUs that llama.cpp can use here, as it names them, e.g. `CUDA0: Tesla T4` (common/arg.cpp, print_devices).

    Empty, without an error, if a backend cannot be loaded.
    """
    command = [str(program("llama-bench")), "--list-devices"]
    said = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=120, check=False
    ).stdout
    return re.findall(r"^  (\S+: .+) \(\d+ MiB, \d+ MiB free\)$", said, flags=re.M)
