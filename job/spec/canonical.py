"""The part of a spec that keys and ids are made from: the values that differ from the defaults.

So a release that adds an option changes no key: finished work is still found, and a run still resumes. Writing `r: 8`
is the same run as leaving it out.
"""

from collections.abc import Set
from typing import Any

from job.spec.parts import Parts
from job.spec.training import Training
from job.spec.types import Section

DEFAULTS = 3
"""Raise this number when a default changes its value or its meaning: work made with the old default must not be used
for the new one. job/spec/defaults.json holds every default of this number."""

WITHOUT_RESULT = frozenset({"gradient_checkpointing"})
"""Fields of `training` that decide how a result is computed, never what it is. They are in no key and no id, and their
defaults may change."""

DECIDE_TOKENS = ("max_length", "trainer", "pad_token", "completion_only_loss", "assistant_only_loss")
"""Fields of `training` that decide what a row's tokens and labels are."""


def canonical(part: Section, exclude: Set[str] = frozenset()) -> dict[str, Any]:
    """The JSON values that differ from the defaults, and the number of the defaults. `exclude`: fields to leave out."""
    return {"defaults": DEFAULTS} | _settled(part).model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))


def _settled(part: Section) -> Section:
    """With the defaults of the fields that change no result. A recipe's values are in the fields."""
    if isinstance(part, Training):
        return part.model_copy(update={name: Training.model_fields[name].default for name in WITHOUT_RESULT})
    if not isinstance(part, Parts):
        return part
    changes: dict[str, Any] = {"recipe": Parts.model_fields["recipe"].default}
    return part.model_copy(update=changes | ({"training": _settled(part.training)} if part.training else {}))
