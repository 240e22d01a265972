"""A budget for a file whose mix of tensor types is searched: `{fit: 6G}`."""

import re
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from job.spec.types import NUMBER, Count, QuantType, Section

FIT = "fit-"
"""Begins the type of a file that was searched for."""
_SIZE = re.compile(r"([1-9][0-9]{0,4}(?:\.[0-9]{1,3})?)\s*(m|g|bpw)", re.I)
_UNITS = {"m": "M", "g": "G", "bpw": "bpw"}
_BYTES = {"M": 10**6, "G": 10**9}


def _budget(value: Any) -> Any:
    """`6G`, `4.5bpw`, in any case."""
    if not isinstance(value, str):
        raise ValueError("a size is expected; write e.g. 6G, 700M or 4.5bpw")
    found = _SIZE.fullmatch(value.strip())
    if not found:
        near = re.match(r"[1-9][0-9]{0,4}(?:\.[0-9]{1,3})?", value.strip())
        guess = f"{near[0]}G" if near else "6G"
        raise ValueError(f"a number and a unit are expected; write e.g. {guess}, 700M or 4.5bpw")
    number = found[1].rstrip("0").rstrip(".") if "." in found[1] else found[1]
    return f"{number}{_UNITS[found[2].lower()]}"


Budget = Annotated[
    str,
    BeforeValidator(_budget),
    Field(json_schema_extra={"pattern": r"^[1-9][0-9]{0,4}(\.[0-9]{1,3})? *([mMgG]|[bB][pP][wW])$"}),
]


class Fit(Section):
    """A file within a budget: the mix of tensor types with the least KL divergence on held-out rows."""

    fit: Budget
    """The budget: `6G` or `700M` (of 10^9 and 10^6 bytes), or bits per weight, `4.5bpw`."""
    context: Count | None = None
    """Count the keys and values of this many tokens too, in 16 bits: then `fit` is memory for file and context."""
    judgings: Annotated[int, Field(ge=12, le=1000), NUMBER] = 48
    """The search measures at most this many mixes on one half of the held-out windows."""

    @model_validator(mode="after")
    def _context_goes_with_memory(self) -> Self:
        if self.context and self.bits:
            raise ValueError("bits per weight are of the file alone; leave context out, or write a size in G or M")
        return self

    @property
    def label(self) -> str:
        """The type in file names and records: `fit-6g`."""
        return f"{FIT}{self.fit.lower()}" + (f"-c{self.context}" if self.context else "")

    @property
    def bits(self) -> float | None:
        """The budget in bits per weight, if it is given so."""
        return float(self.fit.removesuffix("bpw")) if self.fit.endswith("bpw") else None

    @property
    def size(self) -> int | None:
        """The budget in bytes, if it is given so."""
        return None if self.bits else round(float(self.fit[:-1]) * _BYTES[self.fit[-1]])


_TYPE, _BUDGET = "(type)", "(budget)"  # pydantic writes them into the place of a fault; no field has such a name


def _alternative(value: Any) -> str:
    return _BUDGET if isinstance(value, dict | Fit) else _TYPE


FileType = Annotated[Annotated[QuantType, Tag(_TYPE)] | Annotated[Fit, Tag(_BUDGET)], Discriminator(_alternative)]
"""A type of llama.cpp, or a budget."""


def each_file_once(values: list[str | Fit]) -> list[str | Fit]:
    """Leaves out repetitions. Two searches for one file are a fault."""
    labels = [value if isinstance(value, str) else value.label for value in dict.fromkeys(values)]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"{twice[0]} is searched with two numbers of judgings; write one of them")
    return list(dict.fromkeys(values))
