"""What a chat template does not show of a conversation: fields that it drops without a word."""

from typing import Any

from job.tokens.answers import altered
from job.tokens.renderer import Refused, Renderer, Turn

_SURE = 12
"""Characters of a text that stands in the rendering by more than chance."""


def left_out(renderer: Renderer, turns: list[Turn], tools: Any, text: str) -> set[str]:
    """The fields that could be others, and `text`, the rendering of all, would be the same."""
    found: set[str] = set()
    for number, turn in enumerate(turns):
        for name, value in turn.items():
            if name == "role" or not value or _stands_in(value, text):
                continue
            other = [*turns[:number], turn | {name: altered(value)}, *turns[number + 1 :]]
            if _is_same(renderer, other, tools, text):
                found.add(f"content of a turn of the {turn['role']}" if name == "content" else name)
    if tools and _is_same(renderer, turns, altered(tools), text):
        found.add("tools")
    return found


def _stands_in(value: Any, text: str) -> bool:
    return isinstance(value, str) and len(value.strip()) >= _SURE and value.strip() in text


def _is_same(renderer: Renderer, turns: list[Turn], tools: Any, text: str) -> bool:
    try:
        return renderer.render(turns, tools).text == text
    except Refused:
        return False  # the template reads what it refuses
