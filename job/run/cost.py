"""What a run has cost: the seconds of all its attempts, at the GPU's price per hour, which travels in its Job.

An attempt counts from its start to its last measurement (job/run/usage.py), so that of a killed one up to a minute is
missing. A run that passes its limit ends with 85; the stage at work saves first, and what is finished is in the store.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from job.budget import Budget
from job.errors import CostExceeded
from job.logs import log
from job.run.usage import Usage, read_usage
from job.store import Store

EVERY_S = 5.0


class Spent(NamedTuple):
    """Seconds of all attempts, how many there were, and what they cost, if the price is known."""

    seconds: float
    attempts: int
    cost: float | None


def seconds_of(usages: list[Usage]) -> float:
    """Of all attempts, as far as they were measured."""
    return sum(usage.seconds[-1] for usage in usages if usage.seconds)


def spent(store: Store, run: str, limits: Budget) -> Spent:
    """What the run has cost so far, the attempt at work as far as it is written."""
    usages = read_usage(store, run)
    seconds = seconds_of(usages)
    return Spent(round(seconds, 1), len(usages), limits.cost(seconds))


@contextmanager
def watched(limits: Budget, earlier_s: float, stop: Callable[[CostExceeded], None]) -> Iterator[None]:
    """Watches the cost while the block lasts. `earlier_s`: seconds of the attempts before; `stop`: called once, from
    another thread, with the error that the run is to end with.

    Raises CostExceeded at once if the attempts before have used up the limit.
    """
    if limits.most is None:
        yield
        return
    if fault := _fault(limits, earlier_s):
        raise fault
    closed, began = threading.Event(), time.monotonic()

    def watch() -> None:
        while not closed.wait(EVERY_S):
            if fault := _fault(limits, earlier_s + time.monotonic() - began):
                log.warning("run.cost_exceeded", message=fault.message)
                stop(fault)
                return

    thread = threading.Thread(target=watch, name="cost", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def _fault(limits: Budget, seconds: float) -> CostExceeded | None:
    cost = limits.cost(seconds)
    if cost is None or limits.most is None or cost < limits.most:
        return None
    return CostExceeded(
        f"the run has cost {cost:.2f} ({seconds / 3600:.2f} hours at {limits.price:g} an hour), and its limit is "
        f"{limits.most:g}",
        hint="What is finished is in the store. Launched again with a higher limit (--max-cost; in the chart: "
        "env.FINETUNE_MAX_COST), it continues from there.",
    )
