"""A spec, or a part of it, as keys and ids see it: what differs from the defaults.

So a release that adds an option keeps every key: work that is kept, a run that is resumed. Writing `r: 8` is the same
run as leaving it out.
"""

from collections.abc import Set
from typing import Any

from job.spec.types import Section

DEFAULTS = 1
"""Raised when a default gets another value or another meaning: then what was made with the old one is not taken for
what the new one asks for. job/spec/defaults.json holds every default that goes with it."""


def canonical(part: Section, exclude: Set[str] = frozenset()) -> dict[str, Any]:
    """JSON values, and the number of the defaults that they leave out. `exclude`: fields that do not matter here."""
    return {"defaults": DEFAULTS} | part.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))
