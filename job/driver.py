"""Queries NVIDIA's driver in this container, without torch: its version, its devices and GPUs.

The GPUs come from the driver's own library, which torch uses too (CUDA driver API, cuda.h). `nvidia-smi` cannot
replace that: it is not in every container, and in a container it cannot read the memory of a MIG slice
(NVIDIA/nvidia-container-toolkit#842).
"""

import ctypes
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libcuda.so.1"
MODULE = Path("/proc/driver/nvidia/version")
DEVICES = Path("/dev")
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_… (cuda.h)."""
TIMEOUT_S = 120
"""A GPU without persistence mode takes seconds to initialize; a broken one never answers."""


class Gpu(NamedTuple):
    """`memory`: bytes of the card or of the MIG slice, as CUDA counts them. `capability`: its compute
    capability."""

    name: str
    memory: int
    capability: tuple[int, int]


class Driver(NamedTuple):
    """`version`: of the kernel module, which is the same in every container of the node. `devices`: paths of the cards
    in this container. `unloadable`: why the library cannot be loaded, in the loader's words.
    `failure`: the call of the library that failed, with the name and number of its error; `code`: that number."""

    version: str | None = None
    devices: tuple[str, ...] = ()
    unloadable: str = ""
    failure: str = ""
    code: int = 0
    gpus: tuple[Gpu, ...] = ()


def ask() -> Driver:
    """Queries the driver in a separate process: a broken driver hangs or crashes the caller, and CUDA cannot be closed
    again."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "job.driver"], capture_output=True, encoding="utf-8", errors="replace",
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        said: dict[str, Any] = {"failure": f"{LIBRARY} did not answer within {TIMEOUT_S} s"}
    else:
        lines = done.stdout.splitlines()
        crashed = {"failure": f"{LIBRARY} ended the process that called it ({done.returncode})"}
        said = json.loads(lines[-1]) if lines and done.returncode == 0 else crashed
    said["gpus"] = tuple(Gpu(name, memory, tuple(version)) for name, memory, version in said.get("gpus", ()))
    return Driver(_version(), _devices(), **said)


def _version() -> str | None:
    """E.g. 580.65.06. The first line ends `Kernel Module  580.65.06  <date>`, or `for x86_64  580.65.06  Release …`."""
    try:
        first = MODULE.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return None
    found = re.search(r"\d+(\.\d+)+", first)
    return found[0] if found else None


def _devices() -> tuple[str, ...]:
    """The cards' paths. A container's only card keeps its number on the node, so it may be /dev/nvidia3."""
    return tuple(sorted(str(path) for path in DEVICES.glob("nvidia[0-9]*")))


class _Failed(Exception):
    pass


def _answer() -> dict[str, Any]:
    """The library's part of a Driver."""
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        return {"unloadable": str(error)}

    def call(name: str, *arguments: Any) -> None:
        if code := getattr(cuda, name)(*arguments):
            raise _Failed(name, code)

    try:
        call("cuInit", 0)
        call("cuDeviceGetCount", ctypes.byref(count := ctypes.c_int()))
        return {"gpus": [_gpu(call, number) for number in range(count.value)]}
    except _Failed as error:
        name, code = error.args
        called = ctypes.c_char_p()
        cuda.cuGetErrorName(code, ctypes.byref(called))
        return {"failure": f"{name}: {(called.value or b'unknown error').decode()} ({code})", "code": code}


def _gpu(call: Any, number: int) -> Gpu:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    call("cuDeviceGet", ctypes.byref(device), number)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = ctypes.c_int(), ctypes.c_int()
    call("cuDeviceGetAttribute", ctypes.byref(major), CAPABILITY_MAJOR, device)
    call("cuDeviceGetAttribute", ctypes.byref(minor), CAPABILITY_MINOR, device)
    return Gpu(name.value.decode(errors="replace"), memory.value, (major.value, minor.value))


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(_answer(), allow_nan=False) + "\n")  # after what the library itself has printed
