"""Estimates the price of a run: the time that job/predict expects, at the configured price per hour."""

from collections.abc import Collection
from typing import NamedTuple

from job.artifacts import Frozen
from job.errors import SpecInvalid
from job.predict.cases_here import cases_here
from job.predict.config import anatomy_here
from job.predict.gpus import Gpu
from job.predict.prediction import predict
from job.predict.rows_here import rows_here
from job.predict.timing import Machine, Seconds
from job.spec import JobSpec
from job.spec.places import Where
from push.config import Config

PLACES: tuple[Where, ...] = ("hub",)
"""Where rows are looked at: a push must not read files of the machine that prices it."""


class Price(NamedTuple):
    """None if unknown."""

    likely: float | None
    most: float | None

    @property
    def counted(self) -> float | None:
        """What a limit is compared with: what the run will likely cost. An upper bound is several times that, and would
        refuse what nobody would; what a run must not exceed in any case is its deadline's to hold."""
        return self.most if self.likely is None else self.likely


class Estimate(Frozen):
    """`why`: the reason why the price is unknown."""

    seconds: Seconds
    price: Price
    vram: int | None
    why: str = ""


def estimate(spec: JobSpec, card: Gpu | None, config: Config | None, places: Collection[Where] = PLACES) -> Estimate:
    """The estimate, from the spec, the model's config.json and, if they are in one of the places, the first rows."""
    model, reason = anatomy_here(spec)
    if model is None:
        return Estimate(seconds=Seconds(None, None), price=Price(None, None), vram=None, why=reason)
    found = predict(spec, model, Machine(card), rows=rows_here(spec, places), cases=cases_here(spec, places))
    hourly = config.price_per_hour if config else None
    why = ""
    if found.total.most is None:
        why = "the number of steps is unknown (set training.max_steps or dataset.limit)" if card else "no GPU is named"
        if card and not card.has_speed:
            why = f"the speed of {card.name} is not known"

    def costs(seconds: float | None) -> float | None:
        return seconds / 3600 * hourly if seconds is not None and hourly else None

    return Estimate(
        seconds=found.total,
        price=Price(costs(found.total.likely), costs(found.total.most)),
        vram=found.vram.total if found.vram else None,
        why=why,
    )


def check(found: dict[str, Estimate], config: Config) -> None:
    """Raises SpecInvalid if the runs of a push are too expensive together, or one has no estimate."""
    if config.max_price is None:
        return
    unknown = [f"{name}: its price is unknown: {one.why}" for name, one in found.items() if one.price.counted is None]
    if unknown:
        raise SpecInvalid(
            "\n".join(unknown), hint="Nothing was sent, since the configuration has a price limit (max_price)."
        )
    total = sum(one.price.counted or 0 for one in found.values())
    if total > config.max_price:
        raise SpecInvalid(
            f"the runs would cost {total:.2f}, but only {config.max_price:g} is allowed (max_price)",
            hint="Nothing was sent. Push fewer or smaller runs: fewer steps, fewer types.",
        )
