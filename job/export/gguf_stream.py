"""Writes the tensors of gguf's writer as a stream: computed, written and dropped one by one.

While a tensor is written, the next ones are computed, as long as all fit into the memory that the largest tensor needs.
"""

import ctypes
import importlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from job.errors import SpecInvalid
from job.logs import Progress

WORKERS = 2
BLOCK = 1 << 22
SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
FLOAT = 4
BYTES_PER_ELEMENT = 6
"""Bytes per element at most while a matrix is computed: float32 beside a 16-bit result. Stacked experts, and a float32
result, have a copy of their own size beside them."""


@contextmanager
def streamed(tensors: dict[str, Any]) -> Iterator[None]:
    """Replaces the lazy tensors of a gguf writer's table with streaming ones, which report progress.

    Writing then raises SpecInvalid for values that float16 cannot represent.
    """
    bf16 = importlib.import_module("gguf").GGMLQuantizationType.BF16
    progress = Progress("export", sum(info.nbytes for info in tensors.values()), "bytes")
    with ThreadPoolExecutor(WORKERS) as pool:
        ahead = _Ahead(pool, progress)
        for name, info in tensors.items():
            info.tensor = _Streamed(info, name, info.dtype == bf16, ahead)
            ahead.add(info.tensor)
        yield


class _Ahead:
    """Computes tensors ahead of the one being written, in the table's order, within the budget."""

    def __init__(self, pool: ThreadPoolExecutor, progress: Progress) -> None:
        self.pool, self.progress = pool, progress
        self.waiting: deque[_Streamed] = deque()
        self.held = self.budget = self.done = 0

    def add(self, tensor: "_Streamed") -> None:
        self.waiting.append(tensor)
        self.budget = max(self.budget, tensor.cost)

    def value_of(self, tensor: "_Streamed") -> Any:
        """The tensor's values; while they are written, the next ones are computed."""
        if tensor.started is None:
            self._start()
        assert tensor.started is not None
        values = tensor.started.result()
        self.held += tensor.nbytes - tensor.cost
        while self.waiting and self.held + self.waiting[0].cost <= self.budget:
            self._start()
        return values

    def _start(self) -> None:
        tensor = self.waiting.popleft()
        if tensor.cost > self.budget / 2:
            _return_buffers()
        self.held += tensor.cost
        tensor.started = self.pool.submit(tensor.computed)

    def written(self, tensor: "_Streamed") -> None:
        tensor.started = None
        self.held -= tensor.nbytes
        self.done += tensor.nbytes
        self.progress.update(self.done)


class _Streamed:
    """Stands for a lazy tensor in the writer: it has `nbytes` and `tofile`."""

    def __init__(self, info: Any, name: str, bf16: bool, ahead: _Ahead) -> None:
        self.lazy, self.name, self.bf16, self.ahead = info.tensor, name, bf16, ahead
        self.nbytes: int = info.nbytes
        each = 2 * FLOAT if len(info.shape) > 2 else BYTES_PER_ELEMENT
        self.cost = max(each * math.prod(info.shape), 2 * self.nbytes)
        self.started: Future[Any] | None = None

    def tofile(self, file: Any) -> None:
        _write(self.ahead.value_of(self), file)
        self.ahead.written(self)

    def computed(self) -> Any:
        import numpy as np
        import torch

        lazy, self.lazy = self.lazy, None
        if not hasattr(lazy, "_func"):
            return lazy
        try:
            with np.errstate(over="raise"), torch.inference_mode():
                if self.bf16 and lazy._func is not None and len(lazy._args) == 1:
                    return _rounded_to_bf16(_value(lazy._args[0]))
                return _value(lazy)
        except FloatingPointError as error:
            raise SpecInvalid(
                f"export.dtype: {self.name} contains values beyond float16's range", hint="Set it to bf16 or f32."
            ) from error


def _write(values: Any, file: Any) -> None:
    """Writes in blocks that fit into the CPU's cache: numpy's tofile uses stdio, at a third of the speed."""
    import numpy as np

    flat: Any = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    for start in range(0, len(flat), BLOCK):
        file.write(flat[start : start + BLOCK].data)
    _begin_writeback(file.fileno())


def _return_buffers() -> None:
    """Returns memory that glibc keeps for reuse to the system: the largest tensors need it (malloc_trim(3))."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _begin_writeback(descriptor: int) -> None:
    """Starts writing to the disk while the next tensor is computed, instead of all at once in the final fsync
    (sync_file_range(2), which some file systems do not support)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "sync_file_range"):
        libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), SYNC_FILE_RANGE_WRITE)


def _value(lazy: Any) -> Any:
    """Evaluates a lazy tensor as gguf's LazyBase.to_eager does, but keeps no intermediate result alive."""
    if lazy._data is not None:
        return lazy._data
    return lazy._func(*lazy._recurse_apply(lazy._args, _value), **lazy._kwargs)


def _rounded_to_bf16(values: Any) -> Any:
    """Rounds to nearest even, like gguf's own rounding, which needs 8 times the result in memory and is much slower."""
    import torch

    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint8).numpy()
