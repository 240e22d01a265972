"""CPU, memory and disk of a run's pod, from the prediction if the model's sizes are known."""

from collections.abc import Sequence
from math import ceil

from job.predict.prediction import Prediction
from k8s.manifest.settings import GIB, Resources
from k8s.placement.nodes import Node

LEAST_MEMORY = 6 * GIB
"""Bytes of one process: torch with a CUDA context, the libraries, the rows, and room for the files it reads."""
HEADROOM = GIB
BESIDE_CACHE = 2 * GIB
"""Bytes of the llama.cpp process and of `job run`, beside a cached file."""
BESIDE_FILES = 6 * GIB
"""Bytes on disk beside those that job/predict/disk.py counts: rows, caches, the log."""


def resources_of(found: Prediction) -> Resources:
    """The pod's requests. For an unknown model family: the defaults of Settings."""
    if not found.ram:
        return Resources()
    return Resources(
        memory=_rounded(max(LEAST_MEMORY, found.ram_peak.size + HEADROOM)),
        disk=_rounded(found.disk_peak.size + BESIDE_FILES),
    )


def with_file_cache(memory: int, found: Prediction, nodes: Sequence[Node], pods: int = 1) -> int:
    """The request for memory, so large that the unquantized file stays in the page cache, which counts against the
    limit and is otherwise read from disk for each type; if each of the nodes has that much for so many pods."""
    wanted = _rounded(found.sizes.half + BESIDE_CACHE)
    has_it = bool(nodes) and all(node.free_memory >= wanted * pods for node in nodes)
    return max(memory, wanted) if has_it else memory


def _rounded(count: float) -> int:
    """Rounded up to whole GiB."""
    return ceil(count / GIB) * GIB
