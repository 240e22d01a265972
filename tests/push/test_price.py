"""What a push may cost: the likely price counts, and the price at most only if no other is known."""

from typing import Any

import pytest

from job.errors import SpecInvalid
from job.predict.timing import Seconds
from push.config import Config
from push.price import Estimate, Price, check
from tests.push.pushes import CONFIG

LIMITED = Config.model_validate(CONFIG | {"price_per_hour": 0.35, "max_price": 1})


def costs(likely: float | None, most: float | None, **more: Any) -> Estimate:
    return Estimate(seconds=Seconds(None, None), price=Price(likely, most), vram=None, **more)


def test_a_run_that_is_likely_cheap_is_sent_however_much_it_may_cost_at_most() -> None:
    check({"a": costs(0.3, 5.0), "b": costs(0.3, 5.0)}, LIMITED)
    with pytest.raises(SpecInvalid, match=r"the runs would cost 1\.20, but only 1 is allowed"):
        check({"a": costs(0.6, 5.0), "b": costs(0.6, 5.0)}, LIMITED)


def test_a_run_whose_likely_price_is_unknown_counts_with_its_price_at_most() -> None:
    check({"a": costs(None, 0.9)}, LIMITED)
    with pytest.raises(SpecInvalid, match=r"would cost 5\.00"):
        check({"a": costs(None, 5.0)}, LIMITED)
    with pytest.raises(SpecInvalid, match="a: its price is unknown: no GPU is named"):
        check({"a": costs(None, None, why="no GPU is named"), "b": costs(0.1, 0.1)}, LIMITED)
