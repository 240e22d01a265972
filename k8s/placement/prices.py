"""What an hour of a GPU costs: one number, or a file with each card's.

t4: 0.35
l4: {on_demand: 0.71, spot: 0.22}
NVIDIA-RTX-A6000: 0.5
'*': 2
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from job.artifacts import Frozen
from job.nearest import guess
from job.predict.gpus import GPUS
from k8s.errors import SettingsInvalid
from k8s.placement.cards import is_product
from k8s.placement.placement import Placement

OTHERS = "*"
"""Every card that is not named."""
Amount = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class Hourly(Frozen):
    """One card's prices, of which one may be unknown."""

    on_demand: Amount | None = None
    spot: Amount | None = None


Prices = Mapping[str, Amount | Hourly]
_PRICES: TypeAdapter[dict[str, Amount | Hourly]] = TypeAdapter(dict[str, Amount | Hourly])


def price_of(placement: Placement, prices: Prices) -> float | None:
    """The highest price of an hour among the cards that the run may get; None if one of them is not known, and on the
    CPU."""
    found = [_one(prices.get(card, prices.get(OTHERS)), placement.on_spot) for card in placement.gpus]
    known = [one for one in found if one is not None]
    return max(known) if known and len(known) == len(found) else None


def _one(price: float | Hourly | None, on_spot: bool) -> float | None:
    if isinstance(price, Hourly):
        return price.spot if on_spot else price.on_demand
    return price


def same_for_all(price: float) -> Prices:
    """One price, whatever the card. Raises SettingsInvalid if it is not an amount."""
    return prices_of({OTHERS: price}, "--price")


def read_prices(path: Path) -> Prices:
    """The file's prices. Raises SettingsInvalid, with the file."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise SettingsInvalid(f"--price-file {path}: cannot be read: {str(error).splitlines()[0]}") from error
    return prices_of(data, f"--price-file {path}")


def prices_of(data: Any, where: str) -> Prices:
    """Prices by card. Raises SettingsInvalid, beginning with `where`."""
    try:
        found = _PRICES.validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        keys = ".".join(map(str, first["loc"][:1])) or "the file"
        raise SettingsInvalid(
            f"{where}: {keys}: not a price", hint="Write e.g. t4: 0.35, or l4: {on_demand: 0.71, spot: 0.22}."
        ) from error
    for name in found:
        if name not in GPUS and name != OTHERS and not is_product(name):
            raise SettingsInvalid(f"{where}: {name[:40]} is not a known card{guess(name, GPUS)}")
    return found
