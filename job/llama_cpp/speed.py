"""Measures how fast a GGUF is in llama.cpp: on the GPU, if there is one, and on the CPU.

A number of threads above that of the CPUs is not measured: it would tell how threads wait for each other.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from job import node
from job.artifacts import Frozen
from job.errors import Bug, EnvironmentUnfit, StorageFailed
from job.llama_cpp import generate, offload
from job.logs import log

REPETITIONS = 3
ON_GPU, ON_CPU = (512, 128), (64, 32)
"""Tokens of the prompt, and generated: about the same time on either."""


class Speed(Frozen):
    """Milliseconds per token of the prompt and of the generated text, each the median of the repetitions, on `device`.

    `generation_spread_ms`: half of the difference between the slowest and the fastest. `gpu_layers`: see
    `offload.Output`.
    """

    threads: int
    device: str
    gpu_layers: str
    prompt_ms: float
    generation_ms: float
    generation_spread_ms: float


def thread_counts(asked: Sequence[int]) -> list[int]:
    """The numbers of threads to measure the CPU with: each as asked, or all CPUs if there are fewer."""
    return list(dict.fromkeys(min(count, node.threads()) for count in asked))


def speeds(gguf: Path, threads: Sequence[int], *, on_cpu: bool = False) -> list[Speed]:
    """With a GPU one speed on it, and `on_cpu` those with each number of `threads`; without one always those.

    If llama-bench fails, they are left out and a warning is logged: whether the file works is decided by others.
    """
    try:
        there = _measured(gguf, [node.threads()], ON_GPU) if offload.has_gpu() else []
        if on_cpu or not there:
            there += _measured(gguf, thread_counts(threads), ON_CPU, uses_gpu=False)
        return there
    except (Bug, EnvironmentUnfit, StorageFailed) as error:
        log.warning("evaluate.no_speed", file=gguf.name, why=error.message, what="its speed is left out of the table")
        return []


def _measured(gguf: Path, threads: list[int], tokens: tuple[int, int], *, uses_gpu: bool = True) -> list[Speed]:
    sizes = ["-p", str(tokens[0]), "-n", str(tokens[1]), "-r", str(REPETITIONS)]
    # Without -v it does not report why a model does not load.
    arguments: list[str | Path] = ["-m", gguf, "-t", ",".join(map(str, threads)), *sizes, "-o", "json", "-v"]
    output = offload.run(
        "llama-bench", arguments, gguf=gguf, error=Bug, timeout_s=generate.TIMEOUT_S, uses_gpu=uses_gpu
    )
    measured = json.loads(output.out)
    return [_speed([run for run in measured if run["n_threads"] == count], output.gpu_layers) for count in threads]


def _speed(runs: list[dict[str, Any]], gpu_layers: str) -> Speed:
    prompt = next(run for run in runs if run["n_prompt"])
    generation = next(run for run in runs if run["n_gen"])
    each = [1000 / rate for rate in generation["samples_ts"]]
    return Speed(
        threads=prompt["n_threads"],
        device=prompt["cpu_info"] if gpu_layers.startswith("0") else prompt["gpu_info"] or prompt["cpu_info"],
        gpu_layers=gpu_layers,
        prompt_ms=round(median(1000 / rate for rate in prompt["samples_ts"]), 3),
        generation_ms=round(median(each), 3),
        generation_spread_ms=round((max(each) - min(each)) / 2, 3),
    )
