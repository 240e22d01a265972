"""Tool calls and tools of a conversation, in the form in which chat templates take them.

tool_calls   [{"type": "function", "function": {"name": …, "arguments": {…}}}, …]   as OpenAI's API has it, but with
             arguments that are an object; also as JSON text, as one call, or as {"name", "arguments"} alone
tools        [{"type": "function", "function": {"name", "description", "parameters"}}, …]   also as JSON text, or
             the functions alone
"""

import json
from typing import Any

from job.dataset.rows import Broken, kind_name, shown


def calls_of(value: Any, where: str) -> list[dict[str, Any]]:
    """The calls of a turn. Raises Broken."""
    found = from_json(value, where)
    calls = found if isinstance(found, list) else [found]
    return [_call(from_json(call, where), where) for call in calls]


def tools_of(value: Any, where: str) -> list[dict[str, Any]]:
    """The tools that a conversation may call; none for an empty column. Raises Broken."""
    found = from_json(value, where) if value else None
    tools = found if isinstance(found, list) else [found] if found else []
    return [_tool(from_json(tool, where), where) for tool in tools]


def from_json(value: Any, where: str) -> Any:
    """A value, or what it holds as JSON text. Raises Broken."""
    if not isinstance(value, str) or not value.strip():
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{where} is text that is not JSON: {shown(value)}") from error


def _call(call: Any, where: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise Broken(f"{where} has a call that is {kind_name(call)}, not an object")
    function = from_json(call.get("function"), where)
    if function is None:
        function = {name: held for name, held in call.items() if name not in ("id", "type")}
        rest = {name: call[name] for name in ("id",) if call.get(name) is not None}
    else:
        rest = {name: held for name, held in call.items() if name not in ("function", "type") and held is not None}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise Broken(f"{where} has a call without a function's name")
    given = function["arguments"] if "arguments" in function else function.get("parameters")
    arguments = from_json(given, f"{where}, arguments of {shown(function['name'])}")
    if arguments is None or arguments == "":
        arguments = {}
    if not isinstance(arguments, dict):
        raise Broken(f"{where}: the arguments of {shown(function['name'])} are {kind_name(arguments)}, not an object")
    others = {name: held for name, held in function.items() if name not in ("name", "arguments", "parameters")}
    function = {"name": function["name"], "arguments": arguments} | {n: held for n, held in others.items() if held}
    return rest | {"type": "function", "function": function}


def _tool(tool: Any, where: str) -> dict[str, Any]:
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict) and tool["function"].get("name"):
        return {"type": "function"} | tool
    if isinstance(tool, dict) and isinstance(tool.get("name"), str) and tool["name"]:
        return {"type": "function", "function": tool}
    raise Broken(f"{where} has a tool without a name: {shown(tool)}")
