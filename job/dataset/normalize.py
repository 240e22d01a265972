"""Converts a row of the data to one of the three kinds that training reads.

{"text": …}    {"prompt": …, "completion": …}    {"messages": [{"role", "content", …}, …], "tools": […]}

To each, prepare.py adds its `source`: file and line.
"""

from collections.abc import Callable
from typing import Any

from job.dataset.layouts import Kind, Layout
from job.dataset.rows import Broken, shown
from job.dataset.texts import optional, text_of
from job.dataset.tools import tools_of
from job.dataset.turns import Turn, ordered, pairs_of, turns_of

Normalized = dict[str, Any]


def normalizer(layout: Layout, kind: Kind, system: str | None) -> Callable[[dict[str, Any]], Normalized]:
    """A function that turns a row of this layout into one of this kind. It raises Broken for a row that cannot be used.

    A prompt with its completion can also become a conversation, without loss. `system` is added to each conversation
    that has no system prompt of its own.
    """
    columns = layout.columns

    def as_text(row: dict[str, Any]) -> Normalized:
        return {"text": text_of(row, columns["text"])}

    def as_pair(row: dict[str, Any]) -> Normalized:
        prompt, completion = text_of(row, columns["prompt"]), text_of(row, columns["completion"])
        return {"prompt": prompt + layout.between, "completion": completion}

    def as_messages(row: dict[str, Any]) -> Normalized:
        turns = ordered(_with_system(_TURNS[layout.format](row, columns), row, columns.get("system")))
        if system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        tools = columns.get("tools")
        found = tools_of(row.get(tools), f"column {shown(tools)}") if tools else []
        return {"messages": turns} | ({"tools": found} if found else {})

    return {"text": as_text, "prompt_completion": as_pair, "messages": as_messages}[kind]


def _with_system(turns: list[Turn], row: dict[str, Any], column: str | None) -> list[Turn]:
    """The turns with the system prompt that stands in a column beside them."""
    said = optional(row, column)
    if not said.strip():
        return turns
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"] != said:
            raise Broken(f"column {shown(column)} and the first turn are two system prompts")
        return turns
    return [{"role": "system", "content": said}, *turns]


def _messages(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    return _chat(row, columns["messages"])


def _conversations(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    return _chat(row, columns["conversations"])


def _chat(row: dict[str, Any], column: str) -> list[Turn]:
    return turns_of(row.get(column), f"column {shown(column)}")


def _instruction(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    asked = [text_of(row, columns["instruction"]), optional(row, columns.get("input"))]
    history = columns.get("history")
    return [
        *(pairs_of(row.get(history), f"column {shown(history)}") if history else []),
        {"role": "user", "content": "\n\n".join(part for part in asked if part.strip())},
        {"role": "assistant", "content": text_of(row, columns["output"])},
    ]


def _pair(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    turns: list[Turn] = []
    for column, role in ((columns["prompt"], "user"), (columns["completion"], "assistant")):
        if isinstance(row.get(column), list):
            turns += turns_of(row[column], f"column {shown(column)}")
        else:
            turns.append({"role": role, "content": text_of(row, column)})
    return turns


_TURNS: dict[str, Callable[[dict[str, Any], dict[str, str]], list[Turn]]] = {
    "messages": _messages,
    "sharegpt": _conversations,
    "alpaca": _instruction,
    "prompt_completion": _pair,
}
