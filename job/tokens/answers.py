"""Finds the assistant's answers in a rendered conversation.

Templates put text around what a turn says, drop parts of it, and render a turn by what comes after it. So nothing is
parsed: a turn lies where the text changes when the turn does. An answer begins after what the template writes to ask
for one, and ends with a token that ends it.
"""

import copy
from collections.abc import Sequence
from typing import Any

from job.tokens.renderer import Refused, Renderer, Span, Turn

_LEAST = 16
"""Characters in which the end of a prompt must be found again, to take an answer's start from it."""
_KEPT = {"role", "id", "type", "tool_call_id", "index"}


class NotFound(Exception):
    """A part of a turn is not in the rendered text."""


def find_answers(
    renderer: Renderer, turns: list[Turn], tools: Any, text: str, enders: Sequence[str]
) -> list[Span | None]:
    """The span of each assistant turn in `text`, the rendering of all turns, with the first of `enders` behind it; None
    for a turn that the template does not show. Raises NotFound."""
    found: list[Span | None] = []
    lowest = 0
    for number, turn in enumerate(turns):
        if turn["role"] != "assistant":
            continue
        words = _changed(renderer, turns, tools, text, number)
        if words is None:
            found.append(None)
            continue
        start = _start(renderer, turns[:number], tools, text, lowest, words[0])
        lowest = end_after(text, words[1], turns[number + 1 :], enders) or words[1]
        found.append((start, lowest))
    return found


def end_after(text: str, at: int, later: list[Turn], enders: Sequence[str]) -> int | None:
    """Where the first ender at or after `at` ends, with those right behind it, if it comes before the turns that
    follow."""
    said = next((str(turn["content"]).strip() for turn in later if str(turn.get("content") or "").strip()), None)
    limit = text.find(said, at) if said else -1
    ends = [
        (place, place + len(ender))
        for ender in enders
        if (place := text.find(ender, at, limit if limit >= 0 else None)) >= 0
    ]
    end = min(ends)[1] if ends else None
    while end is not None and (more := next((one for one in enders if text.startswith(one, end)), None)):
        end += len(more)
    return end


_ASKED, _SAID = ("One-asked", "Two-asked"), ("One-said", "Two-said")
_TALK: list[Turn] = [
    {"role": role, "content": said[number]}
    for number in range(2)
    for role, said in (("user", _ASKED), ("assistant", _SAID))
]


def enders_of(renderer: Renderer, special: Sequence[str]) -> list[str]:
    """The special tokens that the template writes after an answer: in the middle of a conversation, and at its end. A
    token with which conversations begin opens a turn."""
    try:
        text = renderer.render(_TALK).text
    except Refused:
        return []
    opening = _first(special, text.partition(_ASKED[0])[0])
    middle, end = text.partition(_SAID[0])[2].partition(_ASKED[1])[0], text.partition(_SAID[1])[2]
    found = (_first(special, tail) for tail in (middle, end))
    return [token for token in found if token and token != opening]


def can_find(renderer: Renderer, enders: Sequence[str]) -> bool:
    """Whether answers are found in what this template renders; true if it does not take a plain conversation."""
    try:
        text = renderer.render(_TALK).text
        spans = find_answers(renderer, _TALK, None, text, enders)
    except Refused:
        return True
    except NotFound:
        return False
    parts = [text[span[0] : span[1]] if span else "" for span in spans]
    return all(
        said in part and not any(asked in part for asked in _ASKED) for said, part in zip(_SAID, parts, strict=True)
    )


def _first(tokens: Sequence[str], text: str) -> str | None:
    places = [(place, -len(token), token) for token in tokens if (place := text.find(token)) >= 0]
    return min(places)[2] if places else None


def _changed(renderer: Renderer, turns: list[Turn], tools: Any, text: str, number: int) -> Span | None:
    """The part of the text that comes from one turn's words; None if there is none."""
    turn = turns[number]
    whole = _difference(renderer, turns, altered(turn), tools, text, number)
    calls = turn.get("tool_calls")
    if whole is None or not calls:
        return whole
    # What a call answers may be shown with its name: only the arguments tell where the call ends.
    arguments = [call["function"].get("arguments") for call in calls]
    if not arguments[-1]:
        return whole
    others = [
        call | {"function": call["function"] | {"arguments": altered(held)}}
        for call, held in zip(calls, arguments, strict=True)
    ]
    said = _difference(renderer, turns, turn | {"tool_calls": others}, tools, text, number)
    return whole if said is None else (min(whole[0], said[0]), said[1])


def _difference(renderer: Renderer, turns: list[Turn], turn: Turn, tools: Any, text: str, number: int) -> Span | None:
    """Where the text differs if a turn is another one."""
    try:
        other = renderer.render([*turns[:number], turn, *turns[number + 1 :]], tools).text
    except Refused as error:
        raise NotFound(f"turn {number + 1} cannot be told from the others: {error}") from error
    if other == text:
        return None
    first = _common(text, other)
    last = _common(text[first:][::-1], other[first:][::-1])
    return first, len(text) - last


def _start(renderer: Renderer, before: list[Turn], tools: Any, text: str, lowest: int, first: int) -> int:
    """Where what asks for the answer ends, at or before the `first` character of its words."""
    try:
        prompt = renderer.render(before, tools, asks=True).text
        if (end := _end_of(prompt, text, lowest, first)) is not None:
            return end
        plain = renderer.render(before, tools).text
    except Refused:
        return first
    end = _end_of(plain, text, lowest, first)
    if end is None or not prompt.startswith(plain):
        return first
    return min(first, end + _common(prompt[len(plain) :], text[end:]))


def _end_of(beginning: str, text: str, lowest: int, most: int) -> int | None:
    """Where a beginning of the conversation ends in the text: templates render its turns by what follows them, so only
    its last characters must be there."""
    if text.startswith(beginning) and len(beginning) <= most:
        return len(beginning)
    size, end = min(_LEAST, len(beginning)), None
    while 0 < size <= len(beginning) and (place := text.rfind(beginning[-size:], lowest, most)) >= 0:
        end, size = place + size, size + max(1, size // 4)
    return end


def altered(value: Any) -> Any:
    """A turn, or a part of one, with other words, whose first and last characters differ from those it has."""
    if isinstance(value, str):
        said = value.strip()
        other = next(mark for mark in "ZQX" if mark not in (said[:1], said[-1:]))
        return other * 3 if said else value
    if isinstance(value, dict):
        return {name: copy.copy(held) if name in _KEPT else altered(held) for name, held in value.items()}
    if isinstance(value, list):
        return [altered(held) for held in value]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else value


def _common(one: str, other: str) -> int:
    """The number of characters at their beginning that are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
