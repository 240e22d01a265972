"""How fast a GGUF is in llama.cpp: on the GPU, if there is one, and on the CPU; measured by `examine`.

A number of threads above that of the CPUs is not measured: it would tell how threads wait for each other.
"""

import os
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from job import node
from job.artifacts import Frozen
from job.llama_cpp.offload import SUMS

REPETITIONS = 3
"""No two types change places in a second run by more than their errors (`python -m bench.speeds`)."""
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


def asked(threads: Sequence[int], *, on_gpu: bool) -> dict[str, Any]:
    """The question for llama-examine: one speed on the GPU, or one for each number of threads."""
    prompt, generated = ON_GPU if on_gpu else ON_CPU
    return {
        "threads": [node.threads()] if on_gpu else thread_counts(threads),
        "prompt": prompt,
        "generated": generated,
        "repetitions": REPETITIONS,
        "own_sums": not SUMS.keys() & os.environ.keys(),
    }


def measured(found: Iterable[dict[str, Any]], gpu_layers: str) -> list[Speed]:
    """From the answers of llama-examine."""
    return [_speed(one, gpu_layers) for one in found if "generated_ms" in one]


def _speed(one: dict[str, Any], gpu_layers: str) -> Speed:
    each = one["generated_ms"]
    return Speed(
        threads=one["threads"],
        device=one["cpu"] if gpu_layers.startswith("0") else one["gpu"],
        gpu_layers=gpu_layers,
        prompt_ms=round(median(one["prompt_ms"]), 3),
        generation_ms=round(median(each), 3),
        generation_spread_ms=round((max(each) - min(each)) / 2, 3),
    )
