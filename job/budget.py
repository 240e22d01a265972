"""What a run may cost: the GPU's price per hour and the limit, which travel in its Job's environment."""

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

from job.errors import SpecInvalid

PRICE, MOST = "FINETUNE_PRICE_PER_HOUR", "FINETUNE_MAX_COST"


class Budget(NamedTuple):
    """Per hour, and for all attempts together. None: not known, without a limit."""

    price: float | None = None
    most: float | None = None

    def cost(self, seconds: float) -> float | None:
        return None if self.price is None else seconds / 3600 * self.price

    def seconds(self) -> float | None:
        """After how many the limit is reached."""
        return None if self.price is None or self.most is None else self.most / self.price * 3600


def budget(environ: Mapping[str, str] = os.environ) -> Budget:
    """The Job's price and limit. Raises SpecInvalid for a value that is not an amount, and for a limit without a
    price."""
    found = Budget(*(_amount(name, environ.get(name, "").strip()) for name in (PRICE, MOST)))
    if found.most is not None and found.price is None:
        raise SpecInvalid(f"{MOST} is set without {PRICE}", hint="Set both: a limit needs the price of an hour.")
    return found


def _amount(name: str, text: str) -> float | None:
    try:
        found = float(text) if text else None
    except ValueError:
        found = math.nan
    if found is not None and not (math.isfinite(found) and found > 0):
        raise SpecInvalid(f"{name}: {text[:40]!r} is not an amount", hint="Write a number such as 0.35.")
    return found
