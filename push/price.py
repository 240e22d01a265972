"""Estimates the price of a run: the time that job/predict expects, at the configured price per hour."""

from job.artifacts import Frozen
from job.errors import SpecInvalid
from job.predict.config import anatomy_here
from job.predict.gpus import GPUS
from job.predict.prediction import predict
from job.spec import JobSpec
from push.config import Config


class Estimate(Frozen):
    """Values are None if unknown; `why` gives the reason."""

    seconds: float | None
    price: float | None
    vram: int | None
    why: str = ""


def estimate(spec: JobSpec, card: str | None, config: Config | None) -> Estimate:
    """The estimate, from the spec and the model's config.json alone."""
    model, unknown = anatomy_here(spec)
    if model is None:
        return Estimate(seconds=None, price=None, vram=None, why=unknown)
    found = predict(spec, model, GPUS[card] if card else None)
    seconds = found.total_s
    hourly = config.price_per_hour if config else None
    why = ""
    if seconds is None:
        why = "the number of steps is unknown (set training.max_steps or dataset.limit)" if card else "no GPU is named"
    return Estimate(
        seconds=seconds,
        price=seconds / 3600 * hourly if seconds is not None and hourly else None,
        vram=found.vram.total if found.vram else None,
        why=why,
    )


def check(found: dict[str, Estimate], config: Config) -> None:
    """Raises SpecInvalid if the runs of a push are too expensive together, or one has no estimate."""
    if config.max_price is None:
        return
    unknown = [f"{name}: its price is unknown: {one.why}" for name, one in found.items() if one.price is None]
    if unknown:
        raise SpecInvalid(
            "\n".join(unknown), hint="Nothing was sent, since the configuration has a price limit (max_price)."
        )
    total = sum(one.price or 0 for one in found.values())
    if total > config.max_price:
        raise SpecInvalid(
            f"the runs would cost {total:.2f}, but at most {config.max_price:g} is allowed (max_price)",
            hint="Nothing was sent. Push fewer or smaller runs: fewer steps, fewer types.",
        )
