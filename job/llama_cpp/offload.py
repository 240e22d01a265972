"""Runs the programs of llama.cpp, with as many layers of a model on the GPU as its memory takes.

What a program says of the GPU or of memory is a fault of this machine, never of the file. After a fault of the GPU the
program runs again with fewer layers there, and in the end without it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from job.errors import EnvironmentUnfit, JobError
from job.llama_cpp import bundle, process
from job.logs import log

_COMPUTING = {"llama-perplexity", "llama-imatrix", "llama-completion", "llama-bench"}
_GPU_FAULT = re.compile(r"CUDA error|cudaMalloc failed|allocate CUDA\d+ buffer")
_MEMORY_FAULT = re.compile(
    r"std::bad_alloc|(?:failed|unable) to allocate|insufficient memory|Cannot allocate memory|out of memory"
    r"|Resource temporarily unavailable"  # of a thread: there is no room for its stack
)
_STOPPED = re.compile(r" (was killed by signal 9|took longer than \d+ s)$", re.M)
_CLOCK = re.compile(r"^[\d.]+ [A-Z] ")
_LAYERS = re.compile(r"offloaded (\d+/\d+) layers to GPU")


class Rung(NamedTuple):
    """How one try is made: options, environment, and what they mean."""

    options: tuple[str, ...]
    environment: dict[str, str]
    meaning: str


WITHOUT_GPU = Rung((), {"CUDA_VISIBLE_DEVICES": ""}, "without the GPU")
"""Not `--device none`: with it a program still asks each GPU for its properties and its memory, and the CUDA context
that this needs may be just what fails."""
LADDER = (
    Rung(("-fitt", "1024"), {}, "with as many layers on the GPU as fit"),  # MiB to leave free: llama.cpp's own default
    Rung(("-fitt", "4096"), {}, "with fewer layers on the GPU"),
    Rung(("-ngl", "0"), {}, "with all layers on the CPU"),  # the GPU still multiplies large batches
    WITHOUT_GPU,
)


class Output(NamedTuple):
    """What a program wrote: `out` to stdout, `said` to stdout and stderr.

    `gpu_layers`: how many layers ran on the GPU, of how many (`20/33`); `0` if the program used no GPU, or does not
    say so (llama-bench does with `-v`, the others do with `-lv 4`).
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
    line_ends: str = "\n",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
) -> Output:
    """Runs a program on `gguf`, as `proc.run` does. `on_line` gets the lines of every try.

    Raises EnvironmentUnfit if neither the GPU nor the CPU has the memory or the time for it, StorageFailed if the disk
    is full, `error` for everything else.
    """
    ladder = LADDER if name in _COMPUTING and has_gpu() else (WITHOUT_GPU,)
    given = os.environ | (environment or {})
    started = partial(process.run, line_ends=line_ends, error=error, cwd=cwd, timeout_s=timeout_s)

    def attempt(rung: Rung) -> Output:
        lines: list[str] = []

        def listen(line: str) -> None:
            lines.append(line)
            if on_line:
                on_line(line)

        # A backtrace would push the fault's own words out of the lines that an error shows.
        quiet = given | {"GGML_NO_BACKTRACE": "1"} | rung.environment
        try:
            out = started([bundle.program(name), *arguments, *rung.options], on_line=listen, env=quiet)
        except error as failure:
            if unfit := _unfit(f"{gguf.name} could not be tried in {name}", lines, failure):
                raise unfit from failure
            raise
        return Output(out, "\n".join(lines), _last_layers(lines))

    for rung, lower in pairwise(ladder):
        try:
            return attempt(rung)
        except GpuFailed as failure:
            log.warning("llama.gpu_failed", why=failure.message, what=f"it is tried again {lower.meaning}")
    return attempt(ladder[-1])


@cache
def has_gpu() -> bool:
    """Whether llama.cpp finds a GPU here."""
    return bool(bundle.devices())


def _unfit(what: str, lines: list[str], failure: JobError) -> EnvironmentUnfit | None:
    """The fault of this machine that a program died of, if it was one."""
    if fault := _first(_GPU_FAULT, lines):
        return GpuFailed(
            f"{what}: {fault}", hint="Look at the node's GPU and driver (nvidia-smi), or use another node."
        )
    if fault := _first(_MEMORY_FAULT, lines):
        return EnvironmentUnfit(f"{what}: {fault}", hint="Give the job more memory.")
    if stopped := _STOPPED.search(failure.message):
        return EnvironmentUnfit(f"{what}: it {stopped[1]}", hint="Give the job more memory and CPU.")
    return None


def _first(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    return next((_CLOCK.sub("", line).strip() for line in lines if pattern.search(line)), None)


def _last_layers(lines: list[str]) -> str:
    """The last that is said: fitting tries several numbers before."""
    return next((found[1] for line in reversed(lines) if (found := _LAYERS.search(line))), "0")
