"""The running mean that a curve of losses is drawn with."""

from collections.abc import Iterable


def running_mean(values: Iterable[float], weight: float = 0.9) -> list[float]:
    """An exponential mean, corrected for its initial bias (like Adam's moments: arXiv:1412.6980)."""
    found, mean = [], 0.0
    for number, value in enumerate(values, 1):
        mean = weight * mean + (1 - weight) * value
        found.append(mean / (1 - weight**number))
    return found
