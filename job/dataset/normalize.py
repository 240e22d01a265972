"""Converts a row of the data to one of the three kinds that training reads.

{"text": …}    {"prompt": …, "completion": …}    {"messages": [{"role", "content"}, …]}

To each, prepare.py adds its `source`: file and line.
"""

import json
from collections.abc import Callable
from typing import Any

from job.dataset.layouts import Kind, Layout
from job.dataset.rows import Broken, kind_name, shown

Normalized = dict[str, Any]
Turn = dict[str, str]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}


def normalizer(layout: Layout, kind: Kind, system: str | None) -> Callable[[dict[str, Any]], Normalized]:
    """A function that turns a row of this layout into one of this kind. It raises Broken for a row that cannot be used.

    A prompt with its completion can also become a conversation, without loss. `system` is added to each conversation
    that has no system prompt of its own.
    """
    columns = layout.columns

    def as_text(row: dict[str, Any]) -> Normalized:
        return {"text": _text(row, columns["text"])}

    def as_pair(row: dict[str, Any]) -> Normalized:
        prompt, completion = _text(row, columns["prompt"]), _text(row, columns["completion"])
        return {"prompt": prompt + layout.between, "completion": completion}

    def as_messages(row: dict[str, Any]) -> Normalized:
        turns = _ordered(_with_system(_TURNS[layout.format](row, columns), row, columns.get("system")))
        if system and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": system})
        return {"messages": turns}

    return {"text": as_text, "prompt_completion": as_pair, "messages": as_messages}[kind]


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None:
        raise Broken(f"column {shown(column)} is missing or null")
    return _clean(value, f"column {shown(column)}")


def _optional(row: dict[str, Any], column: str | None) -> str:
    """The text of a column that may be missing or empty."""
    value = row.get(column) if column else None
    return "" if value is None or value == "" else _clean(value, f"column {shown(column)}", may_be_empty=True)


def _clean(value: Any, where: str, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise Broken(f"{where} contains {kind_name(value)}, not text")
    if not may_be_empty and not value.strip():
        raise Broken(f"{where} is empty")
    if "\0" in value:
        raise Broken(f"{where} contains a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Broken(f"{where} is not UTF-8, or contains half of a surrogate pair") from error
    return value


def _with_system(turns: list[Turn], row: dict[str, Any], column: str | None) -> list[Turn]:
    """The turns after the system prompt of a column. Raises Broken if the conversation has another one."""
    system = _optional(row, column)
    if not system.strip():
        return turns
    if turns[:1] and turns[0]["role"] == "system":
        if turns[0]["content"] != system:
            raise Broken(f"column {shown(column)} and the first turn are two system prompts")
        return turns
    return [{"role": "system", "content": system}, *turns]


def _messages(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    return _chat(row, columns["messages"])


def _sharegpt(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    return _chat(row, columns["conversations"])


def _chat(row: dict[str, Any], column: str) -> list[Turn]:
    return _turns(row.get(column), f"column {shown(column)}")


def _instruction(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    asked = [_text(row, columns["instruction"]), _optional(row, columns.get("input"))]
    return [
        {"role": "user", "content": "\n\n".join(part for part in asked if part.strip())},
        {"role": "assistant", "content": _text(row, columns["output"])},
    ]


def _pair(row: dict[str, Any], columns: dict[str, str]) -> list[Turn]:
    turns: list[Turn] = []
    for column, role in ((columns["prompt"], "user"), (columns["completion"], "assistant")):
        if isinstance(row.get(column), list):
            turns += _turns(row[column], f"column {shown(column)}")
        else:
            turns.append({"role": role, "content": _text(row, column)})
    return turns


_TURNS: dict[str, Callable[[dict[str, Any], dict[str, str]], list[Turn]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _instruction,
    "prompt_completion": _pair,
}


def _turns(value: Any, where: str) -> list[Turn]:
    """Turns from a list of {role, content} or {from, value}, from two columns of such, or from JSON in a text."""
    if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Broken(f"{where} contains text that is not a JSON list of turns") from error
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if not lists or len(lists) != len(value) or len({len(part) for part in lists}) != 1:
            raise Broken(f"{where} contains an object, not a list of turns")
        value = [dict(zip(value, parts, strict=True)) for parts in zip(*lists, strict=True)]
    if value is None:
        raise Broken(f"{where} is missing or null")
    if not isinstance(value, list):
        raise Broken(f"{where} contains {kind_name(value)}, not a list of turns")
    if not value:
        raise Broken(f"{where} contains no turns")
    return [turn for number, held in enumerate(value, start=1) if (turn := _turn(held, number))]


def _turn(value: Any, number: int) -> Turn | None:
    where = f"turn {number}"
    if not isinstance(value, dict):
        raise Broken(f"{where} is {kind_name(value)}, not an object")
    said = value.get("role") if value.get("role") is not None else value.get("from")
    role = _ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        known = "user, assistant, system (or human, gpt)"
        raise Broken(
            f"{where} has the unknown role {shown(said)}; known are {known}" if said else f"{where} has no role"
        )
    content = value.get("content") if value.get("content") is not None else value.get("value")
    if isinstance(content, list):
        content = _parts(content, where)
    if content is None:
        raise Broken(f"{where} has no content")
    text = _clean(content, where, may_be_empty=role == "system")
    return {"role": role, "content": text} if text.strip() else None


def _parts(content: list[Any], where: str) -> str:
    """The text of a content that is a list of parts, as in OpenAI's API."""
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None
        if not isinstance(text, str):
            raise Broken(f"{where} contains a part that is not text")
        texts.append(text)
    return "".join(texts)


def _ordered(turns: list[Turn]) -> list[Turn]:
    """Checks the order that most chat templates demand: at most one system turn, first; then user and assistant in
    turn."""
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    for number, turn in enumerate(spoken):
        expected = "assistant" if number % 2 else "user"
        if turn["role"] != expected:
            at = number + 1 + len(turns) - len(spoken)
            raise Broken(f"the roles are out of order: turn {at} is of the {turn['role']}, not of the {expected}")
    if len(spoken) < 2:
        raise Broken("there is no assistant turn")
    return turns
