"""Detects how the rows of a data set are read, from the columns of its first rows and the spec.

The formats, the columns that each expects, and the names that are recognized for them:

    messages           messages | conversation                      chat turns {role, content}
    sharegpt           conversations                                chat turns {from, value}
    alpaca             instruction, output | response, [input | context], [system]   becomes a conversation
    prompt_completion  prompt, completion | prompt, response | question, answer | query, response | input, output
    text               text | the only text column | content | quote

Alpaca rows become conversations, because a model with a chat template learns instructions best in that form; so does a
prompt with its completion, if the model has one (reading.py).
A pair of columns other than prompt/completion is used only if it is the only pair and no other column (a `context`,
a `text`) would be lost.
"""

from collections.abc import Callable
from typing import Any, Literal

from job.artifacts import Frozen
from job.dataset.rows import listed, shown
from job.errors import DataInvalid
from job.spec.sections import Dataset

Format = Literal["text", "prompt_completion", "messages", "alpaca", "sharegpt"]
Kind = Literal["text", "prompt_completion", "messages"]

EXPECTED: dict[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "input", "output", "system"),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
}
_PAIRS = (("prompt", "response"), ("question", "answer"), ("query", "response"), ("input", "output"))
_WOULD_BE_LOST = ("text", "content", "context", "passage", "choices", "options", "chosen", "rejected")


class Layout(Frozen):
    """How a row is read: `columns` maps the names that the format expects to the names in the data."""

    format: Format
    kind: Kind
    columns: dict[str, str]


def find_layout(dataset: Dataset, heads: list[dict[str, Any]], name: str) -> Layout:
    """The layout of a data set, from its first rows. Raises DataInvalid with the columns and the fields to set."""
    seen = list(dict.fromkeys(column for row in heads for column in row))
    renames = _renames(dataset, seen, name)
    wanted: list[Format] = list(EXPECTED)
    if dataset.format != "auto":
        wanted = [dataset.format]
    elif dataset.text is not None:
        wanted = ["text"]
    elif dataset.columns:
        wanted = [kind for kind in EXPECTED if set(dataset.columns) <= set(EXPECTED[kind])]
    for kind in wanted:
        columns = _FINDERS[kind](renames, seen, heads)
        if columns:
            return Layout(format=kind, kind=_kind(kind, columns, heads), columns=columns)
    what = (
        "it is unclear how to read a row" if dataset.format == "auto" else f"a row cannot be read as {dataset.format}"
    )
    raise DataInvalid(
        f"{name}: {what}; its columns are {listed(map(shown, seen))}",
        hint="Set dataset.text to the column of plain text, or dataset.columns to "
        "{prompt: …, completion: …}, {instruction: …, output: …} or {messages: …}.",
    )


def _renames(dataset: Dataset, seen: list[str], name: str) -> dict[str, str]:
    renames = dict(dataset.columns)
    if dataset.text is not None:
        renames["text"] = dataset.text
    known = {column for columns in EXPECTED.values() for column in columns}
    for expected, actual in renames.items():
        if expected not in known:
            raise DataInvalid(
                f"dataset.columns: no format expects a column {shown(expected)}",
                hint=f"Are the names the wrong way round? Before the colon write one of: {', '.join(sorted(known))}.",
            )
        if actual not in seen:
            option = "dataset.text" if dataset.text == actual else "dataset.columns"
            raise DataInvalid(
                f"{name}: there is no column {shown(actual)} ({option}); its columns are {listed(map(shown, seen))}",
                hint=f"Set {option} to one of them.",
            )
    return renames


def _column(renames: dict[str, str], seen: list[str], *names: str) -> str | None:
    """The data's column for the first of `names`: the renamed one, or the first of `names` that the data has."""
    if names[0] in renames:
        return renames[names[0]]
    return next((name for name in names if name in seen), None)


def _messages(renames: dict[str, str], seen: list[str], _: list[dict[str, Any]]) -> dict[str, str] | None:
    column = _column(renames, seen, "messages", "conversation")
    return {"messages": column} if column else None


def _sharegpt(renames: dict[str, str], seen: list[str], _: list[dict[str, Any]]) -> dict[str, str] | None:
    column = _column(renames, seen, "conversations")
    return {"conversations": column} if column else None


def _alpaca(renames: dict[str, str], seen: list[str], _: list[dict[str, Any]]) -> dict[str, str] | None:
    found = {
        "instruction": _column(renames, seen, "instruction"),
        "output": _column(renames, seen, "output", "response"),
        "input": _column(renames, seen, "input", "context"),
        "system": _column(renames, seen, "system"),
    }
    if not found["instruction"] or not found["output"]:
        return None
    return {name: column for name, column in found.items() if column}


def _prompt_completion(renames: dict[str, str], seen: list[str], _: list[dict[str, Any]]) -> dict[str, str] | None:
    prompt, completion = _column(renames, seen, "prompt"), _column(renames, seen, "completion")
    if prompt and completion:
        return {"prompt": prompt, "completion": completion}
    pairs = [pair for pair in _PAIRS if set(pair) <= set(seen)]
    if renames or len(pairs) != 1 or set(_WOULD_BE_LOST) & set(seen):
        return None
    return {"prompt": pairs[0][0], "completion": pairs[0][1]}


def _text(renames: dict[str, str], seen: list[str], heads: list[dict[str, Any]]) -> dict[str, str] | None:
    column = _column(renames, seen, "text")
    if column is None:
        texts = [name for name in seen if _holds_text([row.get(name) for row in heads])]
        column = texts[0] if len(texts) == 1 else next((name for name in ("content", "quote") if name in texts), None)
    pairs = [pair for pair in (*_PAIRS, ("prompt", "completion")) if set(pair) <= set(seen)]
    if column is None or (pairs and "text" not in renames):
        return None
    return {"text": column}


_FINDERS: dict[Format, Callable[[dict[str, str], list[str], list[dict[str, Any]]], dict[str, str] | None]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "text": _text,
}


def _holds_text(values: list[Any]) -> bool:
    held = [value for value in values if value is not None]
    return bool(held) and all(isinstance(value, str) for value in held) and not all(map(_is_number, held))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _kind(kind: Format, columns: dict[str, str], heads: list[dict[str, Any]]) -> Kind:
    """Prompts and completions that are themselves lists of turns make a conversation."""
    if kind == "text":
        return "text"
    if kind == "prompt_completion" and not any(isinstance(row.get(columns["prompt"]), list) for row in heads):
        return "prompt_completion"
    return "messages"
