"""Recommends a file: the best one for an amount of memory, and the smallest that is good enough."""

from collections.abc import Sequence
from typing import NamedTuple

from job.report.table import Line

BUDGETS_GB = (2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 80)
CONTEXT = 4096
WORKING = 400_000_000
"""Bytes of llama.cpp's own buffers for a batch of 512 tokens: an estimate."""
ENOUGH = 1.02
"""A loss that is not noticeable, as a factor of the unquantized file's perplexity."""


class Choice(NamedTuple):
    """With `gigabytes` of memory, `line` is the most accurate file that fits; it needs `needed` bytes."""

    gigabytes: int
    line: Line
    needed: int


def choices(lines: Sequence[Line], cache_per_token: int) -> list[Choice]:
    """The best file for each amount of memory, from the smallest in which one fits. `cache_per_token`: bytes of keys
    and values."""
    files = [line for line in lines if line.size and not line.name.startswith("(")]
    found: list[Choice] = []
    for gigabytes in BUDGETS_GB:
        fitting = [(line, needed(line, cache_per_token)) for line in files]
        fitting = [one for one in fitting if one[1] <= gigabytes * 1e9]
        if not fitting:
            continue
        best, size = min(fitting, key=lambda one: _loss(one[0]))
        if not found or found[-1].line != best:
            found.append(Choice(gigabytes, best, size))
    return found


def best_for(lines: Sequence[Line], cache_per_token: int, gigabytes: int) -> Choice | None:
    """The most accurate file for this much memory, or None if none fits."""
    fitting = [one for one in choices(lines, cache_per_token) if one.gigabytes <= gigabytes]
    return fitting[-1]._replace(gigabytes=gigabytes) if fitting else None


def needed(line: Line, cache_per_token: int) -> int:
    """Bytes to run a file with CONTEXT tokens."""
    return (line.size or 0) + cache_per_token * CONTEXT + WORKING


def enough(lines: Sequence[Line]) -> Line | None:
    """The smallest published file whose perplexity is at most ENOUGH times the unquantized one's."""
    whole = next((line for line in lines if line.size and line.perplexity and line.kld is None), None)
    if whole is None or whole.perplexity is None:
        return None
    limit = whole.perplexity[0] * ENOUGH
    files = [line for line in lines if line.perplexity and line.perplexity[0] <= limit and _published(line)]
    return min(files, key=lambda line: line.size or 0, default=None)


def _published(line: Line) -> bool:
    return bool(line.size) and not line.name.startswith("(")


def _loss(line: Line) -> tuple[float, float]:
    """A sort key: KL divergence, or bits if nothing was judged."""
    kld = line.kld[0] if line.kld else 0.0 if line.perplexity else 1e9
    return (kld, -(line.bits or 0.0))
