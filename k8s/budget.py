"""What the runs of a launch may cost: refused before anything is sent, and told to each run, which ends when it has
cost its share (job/run/cost.py)."""

from typing import NamedTuple

from job.budget import MOST, PRICE
from job.predict.timing import Seconds
from k8s.errors import SettingsInvalid
from k8s.placement.placement import Placement
from k8s.placement.prices import Prices, price_of


class Allowed(NamedTuple):
    """`prices`: of an hour, by card; `most`: what all runs together may cost."""

    prices: Prices = {}
    most: float | None = None

    def variables(self, placement: Placement, seconds: Seconds, runs: int) -> tuple[dict[str, str], list[str]]:
        """The variables of each run's pod, and notes. Each run of a sweep may cost an equal share.

        Raises SettingsInvalid if a limit cannot be held: without a price, or if the runs will likely cost more.
        """
        price = price_of(placement, self.prices)
        if price is None:
            if self.most is not None and placement.gpus:
                cards = ", ".join(placement.gpus)
                raise SettingsInvalid(
                    f"--max-cost: the price of {cards} is not known",
                    hint="Give it with --price, or in the file of --price-file.",
                )
            return {}, []
        found = {PRICE: f"{price:g}"}
        if self.most is None:
            return found, []
        found[MOST] = f"{self.most / runs:g}"
        expected = seconds.most if seconds.likely is None else seconds.likely
        if expected is None:
            return found, [f"how long it takes is not known; it ends when it has cost {self.most:g}"]
        if (cost := expected / 3600 * price) > self.most:
            raise SettingsInvalid(
                f"the {'run' if runs == 1 else f'{runs} runs'} would cost {cost:.2f} (at {price:g} an hour), and "
                f"--max-cost is {self.most:g}",
                hint="Make it smaller: fewer steps, rows or types; `finetune-run plan` shows what takes how long.",
            )
        return found, []


UNLIMITED = Allowed()
