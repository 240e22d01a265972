"""Renders chats with the chat template: the only place of the job that does."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from job.chat.rendering import Budget
from job.chat.templates import template_for
from job.errors import JobError

Turn = dict[str, Any]
Span = tuple[int, int]
"""Of characters: the first, and the one after the last."""

_MARKS = re.compile(r"\{%[-+]?\s*generation\b")


class Refused(Exception):
    """The template does not take a conversation."""


class Rendered(NamedTuple):
    """`marked`: what the template puts between `{% generation %}` and `{% endgeneration %}`."""

    text: str
    marked: list[Span]


class Renderer:
    """A tokenizer's chat template, with bounds on time and memory. Without a template, turns follow each other."""

    def __init__(self, tokenizer: Any, budget: Budget) -> None:
        self._tokenizer, self._budget = tokenizer, budget
        self._special = tokenizer.special_tokens_map

    @property
    def has_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def marks_answers(self, tools: list[Any] | None = None) -> bool:
        """Whether the template says itself which parts are the assistant's. `tools`: there may be one for them."""
        return bool(_MARKS.search(template_for(self._tokenizer.chat_template, tools) or ""))

    def render(self, turns: list[Turn], tools: list[Any] | None = None, *, asks: bool = False) -> Rendered:
        """A conversation, as `apply_chat_template` renders it, and the start of an answer if it `asks` for one. Raises
        Refused; SpecInvalid or DataInvalid for a template that takes too long."""
        if not self.has_template:
            return Rendered("\n".join(str(turn.get("content") or "") for turn in turns), [])
        refused: Refused | None = None
        for written in _ways(turns):
            try:
                found = self._rendered(written, tools, asks)
                if self._writes_none(written, tools, asks, found):
                    continue
            except Refused as error:
                refused = refused or error
            else:
                return found
        assert refused
        raise refused

    def _writes_none(self, turns: list[Turn], tools: list[Any] | None, asks: bool, found: Rendered) -> bool:
        """Whether the template writes a content that is null as the word."""
        if "None" not in found.text or all(turn.get("content", "") is not None for turn in turns):
            return False
        bare = [_with_content(turn) for turn in turns]
        return self._rendered(bare, tools, asks).text.count("None") < found.text.count("None")

    def _rendered(self, turns: list[Turn], tools: list[Any] | None, asks: bool) -> Rendered:
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            with self._budget.rendering():
                (text,), marked = render_jinja_template(
                    conversations=[turns],
                    tools=tools,
                    chat_template=self._tokenizer.get_chat_template(tools=tools),
                    return_assistant_tokens_mask=self.marks_answers(tools),
                    add_generation_prompt=asks,
                    **self._special,
                )
        except JobError:
            raise
        except Exception as error:  # a template is a program: it may raise anything
            raise Refused(str(error) or type(error).__name__) from error
        return Rendered(str(text), [(start, end) for start, end in (marked or [[]])[0] if end > start])


def _ways(turns: list[Turn]) -> Iterator[list[Turn]]:
    """The turns, and other ways to write those that call tools: templates differ in whether a call's arguments are an
    object or JSON text, and whether a content may be null."""
    yield turns
    has_calls = any(turn.get("tool_calls") for turn in turns)
    as_text = [_with_texts(turn) if turn.get("tool_calls") else turn for turn in turns]
    if has_calls:
        yield as_text
    if any(turn.get("content", "") is None for turn in turns):
        yield [_with_content(turn) for turn in turns]
        if has_calls:
            yield [_with_content(turn) for turn in as_text]


def _with_content(turn: Turn) -> Turn:
    return turn | {"content": turn.get("content") or ""}


def _with_texts(turn: Turn) -> Turn:
    def text(call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        return call | {"function": function | {"arguments": json.dumps(function["arguments"], ensure_ascii=False)}}

    return turn | {"tool_calls": [text(call) for call in turn["tool_calls"]]}
