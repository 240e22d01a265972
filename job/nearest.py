"""The right word for one that is almost like it: of a command, an option, a value, a field or a variable."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

SHOWN = 60
"""Characters of a wrong word that are compared and shown."""


def nearest(
    word: str, known: Iterable[str], *, aliases: Mapping[str, str] = {}, most: int = 3, cutoff: float = 0.6
) -> list[str]:
    """The known words that were probably meant, the likeliest first.

    Case, dashes, underscores and dots do not count, and the beginning of a word stands for it. `aliases`: other words
    with the known one that is meant by each.
    """
    written, words = _bare(word), {known_word: _bare(known_word) for known_word in known}
    for matches in (
        [one for one, bare in words.items() if bare == written],
        [meant for alias, meant in aliases.items() if _bare(alias) == written],
        [one for one, bare in words.items() if len(written) > 2 and bare.startswith(written)],
    ):
        if matches:
            return matches[:most]
    cutoff = min(cutoff, 0.5) if len(written) < 4 else cutoff  # one letter of two is half the word
    close = difflib.get_close_matches(written, list(dict.fromkeys(words.values())), n=most, cutoff=cutoff)
    return [one for bare in close for one in words if words[one] == bare][:most]


def guess(word: str, known: Iterable[str], **options: Any) -> str:
    """`; did you mean x or y?`, or nothing. `options`: of `nearest`."""
    found = nearest(word, known, **options)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _bare(word: str) -> str:
    return re.sub(r"[-_.\s]", "", word[:SHOWN]).lower()
