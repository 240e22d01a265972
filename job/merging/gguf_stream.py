"""Writes the tensors of gguf's writer as a stream: computed, written and dropped one by one.

While a tensor is written the next one is computed, where both fit into what the largest tensor alone needs.
"""

import importlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from job.errors import SpecInvalid
from job.logs import Progress

BYTES_PER_ELEMENT = 6
"""What computing a tensor takes at most: float32 beside a result of 16 bits."""


@contextmanager
def streamed(tensors: dict[str, Any]) -> Iterator[None]:
    """Replaces the lazy tensors of a gguf writer's table with streaming ones, which report progress.

    Raises SpecInvalid, when they are written, for values that float16 cannot hold.
    """
    bf16 = importlib.import_module("gguf").GGMLQuantizationType.BF16
    progress = Progress("export", sum(info.nbytes for info in tensors.values()), "bytes")
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress.update(done)

    budget = BYTES_PER_ELEMENT * max((math.prod(info.shape) for info in tensors.values()), default=0)
    with ThreadPoolExecutor(1) as pool:
        following: _Streamed | None = None
        for name, info in reversed(tensors.items()):
            elements = math.prod(info.shape)
            following = _Streamed(info.tensor, name, elements, info.dtype == bf16, advance, pool, following, budget)
            info.tensor = following
        yield


class _Streamed:
    """Stands for a lazy tensor in the writer: it has `nbytes` and `tofile`."""

    def __init__(
        self,
        lazy: Any,
        name: str,
        elements: int,
        bf16: bool,
        advance: Callable[[int], None],
        pool: ThreadPoolExecutor,
        following: "_Streamed | None",
        budget: int,
    ) -> None:
        self.lazy, self.name, self.elements, self.bf16, self.advance = lazy, name, elements, bf16, advance
        self.pool, self.following, self.budget = pool, following, budget
        self.nbytes: int = lazy.nbytes
        self.started: Future[Any] | None = None

    def tofile(self, file: Any) -> None:
        values = self.started.result() if self.started else self._computed()
        self.started = None
        following, self.following = self.following, None
        if following and self.nbytes + BYTES_PER_ELEMENT * following.elements <= self.budget:
            following.started = self.pool.submit(following._computed)
        values.tofile(file)
        self.advance(self.nbytes)

    def _computed(self) -> Any:
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
                f"export.dtype: {self.name} holds values beyond float16's range", hint="Set it to bf16 or f32."
            ) from error


def _value(lazy: Any) -> Any:
    """Evaluates a lazy tensor as gguf's LazyBase.to_eager does, but keeps no intermediate result alive."""
    if lazy._data is not None:
        return lazy._data
    return lazy._func(*lazy._recurse_apply(lazy._args, _value), **lazy._kwargs)


def _rounded_to_bf16(values: Any) -> Any:
    """To nearest even, as gguf's own rounding, which needs 8 times the result in memory and much longer."""
    import torch

    return torch.from_numpy(values).to(torch.bfloat16).view(torch.uint8).numpy()
