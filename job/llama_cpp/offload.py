"""Runs the programs of llama.cpp with as many layers of a model on the GPU as fit into its memory.

An error of the GPU or of memory is a fault of this machine, never of the file. After a GPU error the program runs again
with fewer layers on the GPU, and finally without it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

from job.errors import EnvironmentUnfit, JobError
from job.library_warnings import tell_llama
from job.llama_cpp import bundle, process
from job.logs import log
from job.redaction import secret_values

_COMPUTING = {"llama-perplexity", "llama-imatrix", "llama-examine", "llama-server"}
SUMS = {"GGML_CUDA_CUBLAS_COMPUTE_TYPE": "f32"}
"""ggml-cuda.cu: products of 16-bit matrices are summed in float32, as on a CPU. Else a float16 file's are summed in
float16, which overflows in some models, and in the others adds a divergence like that of q8_0 to the reference."""
Made = TypeVar("Made")
_OPTIONS = "LLAMA_"
"""Begins variables that llama.cpp takes for options: they would give a program another context, model or tools."""
_GPU_FAULT = re.compile(r"CUDA error|cudaMalloc failed|allocate CUDA\d+ buffer")
_MEMORY_FAULT = re.compile(
    r"std::bad_alloc|(?:failed|unable) to allocate|insufficient memory|Cannot allocate memory|out of memory"
    r"|Resource temporarily unavailable"  # a thread cannot start: no memory for its stack
)
_STOPPED = re.compile(r" (was killed by signal 9|took longer than \d+ s)$", re.M)
_CLOCK = re.compile(r"^[\d.]+ [A-Z] ")
_LAYERS = re.compile(r"offloaded (\d+/\d+) layers to GPU")


class Rung(NamedTuple):
    """The settings of one try: options, environment, and what they mean, for the log."""

    options: tuple[str, ...]
    environment: dict[str, str]
    meaning: str


WITHOUT_GPU = Rung((), {"CUDA_VISIBLE_DEVICES": ""}, "without the GPU")
"""Not `--device none`: with it a program still queries each GPU, and creating the CUDA context for that may be
what fails."""
LADDER = (
    Rung(("-fitt", "1024"), {}, "with as many layers on the GPU as fit"),  # MiB to leave free: llama.cpp's own default
    Rung(("-fitt", "4096"), {}, "with fewer layers on the GPU"),
    Rung(("-ngl", "0"), {}, "with all layers on the CPU"),  # large batches are still multiplied on the GPU
    WITHOUT_GPU,
)


class Output(NamedTuple):
    """A program's output: `out` is stdout, `said` is stdout and stderr.

    `gpu_layers`: layers on the GPU, of all (`20/33`); `0` if the program used no GPU or does not report it (without
    `-lv 4`).
    """

    out: str
    said: str
    gpu_layers: str


class GpuFailed(EnvironmentUnfit):
    """The GPU, its driver or its memory failed in one try."""


def run(
    name: str,
    arguments: Sequence[str | Path],
    *,
    gguf: Path,
    error: type[JobError],
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[subprocess.Popen[str]], None] | None = None,
    line_ends: str = "\n",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    uses_gpu: bool = True,
) -> Output:
    """Runs a program on `gguf`, as `process.run` does, without the GPU if not `uses_gpu`. `on_line` gets the lines of
    every try, `on_start` each program.

    Raises EnvironmentUnfit if neither the GPU nor the CPU has the memory or the time for it, StorageFailed if the disk
    is full, `error` for everything else.
    """
    started = partial(process.run, line_ends=line_ends, error=error, cwd=cwd, timeout_s=timeout_s, on_start=on_start)

    def attempt(rung: Rung) -> Output:
        lines: list[str] = []

        def listen(line: str) -> None:
            lines.append(line)
            if on_line:
                on_line(line)

        given = environment_of(name, rung) | dict(environment or {})
        try:
            out = started([bundle.program(name), *arguments, *rung.options], on_line=listen, env=given)
        except error as failure:
            if fault := unfit(f"{gguf.name} could not be run in {name}", lines, failure):
                raise fault from failure
            raise
        tell_llama(name, lines)
        return Output(out, "\n".join(lines), _last_layers(lines))

    return descend(attempt, uses_gpu=uses_gpu and name in _COMPUTING)


def descend(attempt: Callable[[Rung], Made], *, uses_gpu: bool = True) -> Made:
    """What comes of the first rung on which the GPU does not fail."""
    ladder = LADDER if uses_gpu and has_gpu() else (WITHOUT_GPU,)
    for rung, lower in pairwise(ladder):
        try:
            return attempt(rung)
        except GpuFailed as failure:
            log.warning("llama.gpu_failed", why=failure.message, what=f"it is tried again {lower.meaning}")
    return attempt(ladder[-1])


def environment_of(name: str, rung: Rung) -> dict[str, str]:
    """This process's, for a program of llama.cpp: without its options, and without secrets, which it has no use for."""
    hidden = set(secret_values())
    ours = {
        key: value for key, value in os.environ.items() if not key.startswith(_OPTIONS) and value.strip() not in hidden
    }
    # A backtrace would push the error's message out of the lines that are shown.
    return {**(SUMS if name in _COMPUTING else {}), **ours, "GGML_NO_BACKTRACE": "1", **rung.environment}


@cache
def has_gpu() -> bool:
    """Whether llama.cpp finds a GPU here."""
    return bool(bundle.devices())


def unfit(what: str, lines: list[str], failure: JobError) -> EnvironmentUnfit | None:
    """The error of this machine that ended a program, or None if the reason was another."""
    if fault := _first(_GPU_FAULT, lines):
        return GpuFailed(f"{what}: {fault}", hint="Check the node's GPU and driver (nvidia-smi), or use another node.")
    if fault := _first(_MEMORY_FAULT, lines):
        return EnvironmentUnfit(f"{what}: {fault}", hint="Give the job more memory.")
    if stopped := _STOPPED.search(failure.message):
        return EnvironmentUnfit(f"{what}: it {stopped[1]}", hint="Give the job more memory and CPU.")
    return None


def _first(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((_CLOCK.sub("", line).strip() for line in lines if pattern.search(line)), None)


def _last_layers(lines: list[str]) -> str:
    """The last number reported: fitting tries several before."""
    return next((found[1] for line in reversed(lines) if (found := _LAYERS.search(line))), "0")
