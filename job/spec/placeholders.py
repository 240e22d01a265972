"""Finds what the examples leave to their reader: YOUR-BUCKET, YOUR-NAME and the like."""

import re
from collections.abc import Iterator
from typing import Any

from job.spec.schema import Keys

PLACEHOLDER = re.compile(r"\bYOUR-[A-Z]+\b")
FREE_TEXT = ("chat",)
"""Sections of a spec whose text is the user's own, in which the word means nothing."""


def placeholders(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Each placeholder in a value, with its place."""
    if isinstance(value, dict):
        for key, item in value.items():
            if (*keys, key) != FREE_TEXT:
                yield from placeholders(item, (*keys, key))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from placeholders(item, (*keys, number))
    elif isinstance(value, str) and (found := PLACEHOLDER.search(value)):
        yield keys, found[0]


def replace(found: str) -> str:
    """What to do about a placeholder."""
    return f"{found} is a placeholder of the examples; write your own"
