"""Bounds on rendering chat templates, which are programs that come with a model or a spec."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from job.bounds import Exceeded, bounded
from job.errors import DataInvalid, SpecInvalid

SECONDS, EACH_S, MEMORY = 60.0, 0.01, 1 << 30


class Budget:
    """What all renderings of a process may take together: 60 s, 10 ms more for each one (a template needs about one),
    and 1 GB. `is_own`: the template is the spec's; `whose`: the field that has it."""

    def __init__(self, *, is_own: bool, whose: str = "chat.template") -> None:
        self._left, self._is_own, self._whose = SECONDS, is_own, whose

    @contextmanager
    def rendering(self) -> Iterator[None]:
        """Raises SpecInvalid or DataInvalid if the block takes more."""
        started = time.process_time()
        try:
            with bounded(self._left, MEMORY):
                yield
        except Exceeded as error:
            kind, whose = (SpecInvalid, self._whose) if self._is_own else (DataInvalid, "the model's chat template")
            raise kind(
                f"{whose}: to render the rows, {error}", hint=f"Set {self._whose} to a template that ends."
            ) from None
        finally:
            self._left = max(self._left + EACH_S - (time.process_time() - started), EACH_S)
