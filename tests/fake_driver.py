"""A driver to put where a node's would be: a libcuda.so.1 that answers as it is told, and an nvidia-smi."""

import subprocess
from pathlib import Path

_LIBRARY = r"""
#include <stdlib.h>
#include <string.h>
static int told(const char *name) { const char *value = getenv(name); return value ? atoi(value) : 0; }
int cuInit(unsigned flags) { if (told("FAKE_CRASH")) abort(); return told("FAKE_ERROR"); }
int cuDeviceGetCount(int *count) { *count = told("FAKE_NONE") ? 0 : 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = 7 + number; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    if (device != 7) return 101;
    strncpy(name, "Tesla T4", size);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 15636037632; return device == 7 ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 7 : 5;
    return device == 7 && (attribute == 75 || attribute == 76) ? 0 : 101;
}
int cuGetErrorName(int error, const char **name) {
    *name = error == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : NULL;
    return *name ? 0 : 1;
}
"""


def install(folder: Path) -> Path:
    """Makes `lib64` and `bin` in the folder, as the driver is laid out at /usr/local/nvidia on GKE."""
    (folder / "lib64").mkdir(parents=True)
    command = ["gcc", "-shared", "-fPIC", "-o", folder / "lib64" / "libcuda.so.1", "-x", "c", "-"]
    subprocess.run(command, input=_LIBRARY, text=True, check=True)
    nvidia_smi(folder / "bin", "1234")
    return folder


def nvidia_smi(folder: Path, line: str) -> None:
    """A program that says one line, whatever it is asked."""
    folder.mkdir(exist_ok=True)
    program(folder / "nvidia-smi", line)


def program(path: Path, line: str) -> None:
    """Of the shell, which expands the line."""
    path.write_text(f'#!/bin/sh\necho "{line}"\n')
    path.chmod(0o755)
