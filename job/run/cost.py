"""What a run has cost: the seconds of all its attempts, at the GPU's price per hour, which travels in its Job.

An attempt counts from its start to its last measurement (job/run/usage.py), so that of a killed one up to a minute is
missing. A run that passes its limit ends with 85; the stage at work saves first, and what is finished is in the store.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from job.budget import Budget
from job.errors import CostExceeded
from job.logs import log
from job.run.usage import Usage, read_usage
from job.store import Store


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
    allowed_s = limits.seconds()
    if allowed_s is None:
        yield
        return
    if earlier_s >= allowed_s:
        raise _exceeded(limits, earlier_s)
    closed, left_s = threading.Event(), min(allowed_s - earlier_s, threading.TIMEOUT_MAX)

    def watch() -> None:
        if not closed.wait(left_s):
            fault = _exceeded(limits, earlier_s + left_s)
            log.warning("run.cost_exceeded", message=fault.message)
            stop(fault)

    thread = threading.Thread(target=watch, name="cost", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def _exceeded(limits: Budget, seconds: float) -> CostExceeded:
    return CostExceeded(
        f"the run has cost {limits.cost(seconds):.2f} ({seconds / 3600:.2f} hours at {limits.price:g} an hour), and "
        f"its limit is {limits.most:g}",
        hint="What is finished is in the store. Launched again with a higher limit (--max-cost; in the chart: "
        "env.FINETUNE_MAX_COST), it continues from there.",
    )
