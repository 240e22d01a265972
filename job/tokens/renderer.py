"""Renders chats with the chat template: the only place of the job that does."""

import re
from typing import Any, NamedTuple

from job.chat.rendering import Budget
from job.errors import JobError

Turn = dict[str, Any]
Span = tuple[int, int]
"""Of characters: the first, and the one after the last."""

_MARKS = re.compile(r"\{%[-+]?\s*generation\b")
_ARGUMENTS = "arguments"


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
        self._as_text = False
        """Whether the template wants a call's arguments as JSON text: known once it has refused an object."""

    @property
    def has_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    @property
    def marks_answers(self) -> bool:
        """Whether the template says itself which parts are the assistant's."""
        template = self._tokenizer.chat_template
        template = template.get("default", "") if isinstance(template, dict) else template
        return bool(_MARKS.search(template or ""))

    def render(self, turns: list[Turn], tools: list[Any] | None = None, *, asks: bool = False) -> Rendered:
        """A conversation, as `apply_chat_template` renders it, and the start of an answer if it `asks` for one. Raises
        Refused; SpecInvalid or DataInvalid for a template that takes too long."""
        if not self.has_template:
            return Rendered("\n".join(str(turn.get("content") or "") for turn in turns), [])
        try:
            return self._render(_with_text_arguments(turns) if self._as_text else turns, tools, asks)
        except Refused:
            if self._as_text or not any(turn.get("tool_calls") for turn in turns):
                raise
            found = self._render(_with_text_arguments(turns), tools, asks)
            self._as_text = True
            return found

    def _render(self, turns: list[Turn], tools: list[Any] | None, asks: bool) -> Rendered:
        found = self._rendered(turns, tools, asks)
        if "None" in found.text and any(turn.get("content", "") is None for turn in turns):
            bare = [turn | {"content": ""} if turn.get("content", "") is None else turn for turn in turns]
            other = self._rendered(bare, tools, asks)
            if other.text.count("None") < found.text.count("None"):  # the template writes the missing content out
                return other
        return found

    def _rendered(self, turns: list[Turn], tools: list[Any] | None, asks: bool) -> Rendered:
        from transformers.utils.chat_template_utils import render_jinja_template

        try:
            with self._budget.rendering():
                (text,), marked = render_jinja_template(
                    conversations=[turns],
                    tools=tools,
                    chat_template=self._tokenizer.get_chat_template(tools=tools),
                    return_assistant_tokens_mask=self.marks_answers,
                    add_generation_prompt=asks,
                    **self._special,
                )
        except JobError:
            raise
        except Exception as error:  # a template is a program: it may raise anything
            raise Refused(str(error) or type(error).__name__) from error
        return Rendered(str(text), [(start, end) for start, end in (marked or [[]])[0] if end > start])


def _with_text_arguments(turns: list[Turn]) -> list[Turn]:
    return [turn | {"tool_calls": _texts(turn["tool_calls"])} if turn.get("tool_calls") else turn for turn in turns]


def _texts(calls: list[Any]) -> list[Any]:
    import json

    def text(call: Any) -> Any:
        function = call["function"]
        arguments = json.dumps(function.get(_ARGUMENTS), ensure_ascii=False)
        return call | {"function": function | {_ARGUMENTS: arguments}}

    return [text(call) for call in calls]
