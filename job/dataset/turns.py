"""The turns of a conversation, from any of the forms in which people write them, as a chat template takes them.

A turn keeps every field that it has: what the template does not show is counted when it is rendered (job/tokens/shown).
"""

import json
from typing import Any

from job.dataset.rows import Broken, kind_name, shown
from job.dataset.texts import clean
from job.dataset.tools import calls_of

Turn = dict[str, Any]

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
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
    "tool_response": "tool",
}
_CALLS = {"function_call", "tool_call"}
"""Roles whose text is a call, as JSON (LLaMA-Factory's layout)."""
_AFTER: dict[str, set[str | None]] = {
    "user": {None, "assistant", "tool"},
    "assistant": {"user", "tool"},
    "tool": {"assistant", "tool"},
}
"""Whom each may follow; None: the beginning."""
_WEIGHTS = ("weight", "train", "training")
_NAMED = {"role", "from", "content", "value", "tool_calls", "function_call", *_WEIGHTS}


def turns_of(value: Any, where: str) -> list[Turn]:
    """Turns from a list of {role, content} or {from, value}, from two columns of such, or from JSON in a text. Raises
    Broken."""
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


def pairs_of(value: Any, where: str) -> list[Turn]:
    """Turns from a list of pairs: what was asked, and what was answered (alpaca's history). Raises Broken."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Broken(f"{where} contains text that is not a JSON list of pairs") from error
    turns: list[Turn] = []
    for number, pair in enumerate(value or [], start=1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Broken(f"{where} contains {kind_name(pair)}, not a pair of question and answer")
        said = [clean(part, f"{where}, pair {number},") for part in pair]
        turns += [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
    return turns


def ordered(turns: list[Turn]) -> list[Turn]:
    """Checks the order: at most one system turn, first; then each as `_AFTER` says, and an answer at least."""
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    before: str | None = None
    for number, turn in enumerate(spoken, start=1 + len(turns) - len(spoken)):
        if before not in _AFTER.get(turn["role"], set()):
            expected = "assistant" if before == "user" else "user"
            raise Broken(f"the roles are out of order: turn {number} is of the {turn['role']}, not of the {expected}")
        before = turn["role"]
    if not any(turn["role"] == "assistant" for turn in spoken):
        raise Broken("there is no assistant turn")
    return turns


def _turn(value: Any, number: int) -> Turn | None:
    where = f"turn {number}"
    if not isinstance(value, dict):
        raise Broken(f"{where} is {kind_name(value)}, not an object")
    said = value.get("role") if value.get("role") is not None else value.get("from")
    role = _ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        known = "user, assistant, system, tool (or human, gpt, observation)"
        raise Broken(
            f"{where} has the unknown role {shown(said)}; known are {known}" if said else f"{where} has no role"
        )
    content = value.get("content") if value.get("content") is not None else value.get("value")
    calls = value.get("tool_calls") or value.get("function_call")
    if str(said).lower() in _CALLS:
        calls, content = calls or content, None
    turn: Turn = {"role": role, "content": _content(content, role, where, may_be_missing=bool(calls))}
    if calls:
        if role != "assistant":
            raise Broken(f"{where} has tool calls, but is of the {role}")
        turn["tool_calls"] = calls_of(calls, f"{where}: tool_calls")
    elif not str(turn["content"]).strip() and role == "system":
        return None
    turn |= {name: _whole(held, f"{where}, {name},") for name, held in value.items() if name not in _NAMED and held}
    return turn if _weight(value, where) else turn | {"weight": 0}


def _content(content: Any, role: str, where: str, *, may_be_missing: bool) -> str | None:
    if isinstance(content, list):
        content = _parts(content, where)
    if content is None:
        if may_be_missing:
            return None
        raise Broken(f"{where} has no content")
    return clean(content, where, may_be_empty=may_be_missing or role in ("system", "tool"))


def _parts(content: list[Any], where: str) -> str:
    """The text of a content that is a list of parts, as in OpenAI's API."""
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None
        if not isinstance(text, str):
            raise Broken(f"{where} contains a part that is not text")
        texts.append(text)
    return "".join(texts)


def _weight(value: dict[str, Any], where: str) -> bool:
    """Whether a turn is learned: `weight` (OpenAI) or `train` of 0 or false says that it is not."""
    for name in _WEIGHTS:
        held = value.get(name)
        if held is not None:
            if held not in (0, 1):
                raise Broken(f"{where}: {name} is {shown(held)}, neither 0 nor 1")
            return bool(held)
    return True


def _whole(value: Any, where: str) -> Any:
    """A field's value, if all its texts can be used. Raises Broken."""
    if isinstance(value, str):
        return clean(value, where, may_be_empty=True)
    if isinstance(value, list):
        return [_whole(held, where) for held in value]
    if isinstance(value, dict):
        return {clean(name, where, may_be_empty=True): _whole(held, where) for name, held in value.items()}
    return value
