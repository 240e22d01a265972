"""Detects how the rows of a data set are read, from the columns of its first rows and the spec.

The formats, the columns that each expects, and the names that are recognized for them, in any case:

    messages           messages | conversation                          chat turns {role, content, tool_calls, …}
    sharegpt           conversations                                    chat turns {from, value}
    alpaca             instruction, output | response | …, [input | context], [history]    becomes a conversation
    prompt_completion  prompt, completion, or one column that asks and one that answers (question, answer; …)
    text               text | the only column that holds anything but numbers | content | quote

Beside a conversation may stand its `system` prompt and its `tools`.

Alpaca rows become conversations, because a model with a chat template learns instructions best in that form; so does a
prompt with its completion, if the model has one (reading.py). A pair with a system prompt or tools is read as alpaca.

Nothing is guessed if a column with content would be lost: a `context` beside a question, a list of turns beside an id,
the rejected answers of a preference set.
"""

from collections.abc import Callable
from typing import Any, Literal

from job.artifacts import Frozen
from job.dataset.heads import Heads
from job.dataset.preferences import refuse_preferences
from job.dataset.rows import listed, shown
from job.errors import DataInvalid
from job.spec.sections import Dataset

Format = Literal["text", "prompt_completion", "messages", "alpaca", "sharegpt"]
Kind = Literal["text", "prompt_completion", "messages"]

EXPECTED: dict[Format, tuple[str, ...]] = {
    "messages": ("messages", "system", "tools"),
    "sharegpt": ("conversations", "system", "tools"),
    "alpaca": ("instruction", "input", "output", "history", "system", "tools"),
    "prompt_completion": ("prompt", "completion", "system", "tools"),
    "text": ("text",),
}
_ASKS = ("prompt", "question", "query", "input", "problem", "request")
_ANSWERS = ("completion", "response", "answer", "output", "solution", "reply")
_SPEAKERS = (("user", "human", "q"), ("assistant", "gpt", "bot", "a"))
_SYSTEM = ("system", "system_prompt")
_BESIDE = {"system", "tools"}
"""What a conversation has beside its turns."""
_WOULD_BE_LOST = (
    *("text", "content", "context", "passage", "document", "documents", "evidence", "facts", "table", "schema", "code"),
    *("choices", "options", "chosen", "rejected", "history", "tools", "image", "images", "audio"),
    *("reasoning", "reasoning_content", "thinking", "thought", "rationale", "explanation", "cot"),
)
_OF_ONE_TURN = ("role", "from")


class Layout(Frozen):
    """How a row is read: `columns` maps the names that the format expects to the names in the data.

    `between`: what stands between a prompt and its completion in plain text. A question does not end in a way that its
    answer can follow, as a prompt does. `alone`: it is read so only because no other column holds anything but numbers.
    """

    format: Format
    kind: Kind
    columns: dict[str, str]
    between: str = ""
    alone: bool = False


def find_layout(dataset: Dataset, rows: list[dict[str, Any]], name: str) -> Layout:
    """The layout of a data set, from its first rows. Raises DataInvalid with the columns and the fields to set."""
    heads = Heads(rows, _renames(dataset, rows, name))
    wanted: list[Format] = list(EXPECTED)
    if dataset.format != "auto":
        wanted = [dataset.format]
    elif dataset.text is not None:
        wanted = ["text"]
    elif named := {*dataset.columns, *dataset.template}:
        wanted = [kind for kind in EXPECTED if named <= set(EXPECTED[kind])]
    else:
        refuse_preferences(heads, name)
    for kind in wanted:
        if layout := _FINDERS[kind](heads):
            _check_used(dataset, layout, heads.renames)
            return layout
    what = (
        "it is unclear how to read a row" if dataset.format == "auto" else f"a row cannot be read as {dataset.format}"
    )
    turns = [listed([column]) for column in heads.names if heads.holds_turns(column)]
    found = f" Column {turns[0]} holds conversations: set dataset.columns: {{messages: {turns[0]}}}." if turns else ""
    raise DataInvalid(
        f"{name}: {what}; its columns are {heads.described()}",
        hint="Set dataset.text to the column of plain text, or dataset.columns to "
        f"{{prompt: …, completion: …}}, {{instruction: …, output: …}} or {{messages: …}}.{found}",
    )


def _check_used(dataset: Dataset, layout: Layout, renames: dict[str, str]) -> None:
    """Raises DataInvalid for a column that the spec names and this format does not read."""
    named = renames or dict.fromkeys(dataset.template)
    for name, actual in named.items():
        if (actual or name) not in layout.columns.values():
            option = "dataset.columns" if renames else "dataset.template"
            raise DataInvalid(
                f"{option}: rows that are read as {layout.format} have no {name}: it would not be trained",
                hint=f"Leave {name} out, or set dataset.format to one that reads it.",
            )


def _renames(dataset: Dataset, rows: list[dict[str, Any]], name: str) -> dict[str, str]:
    renames = dict(dataset.columns)
    if dataset.text is not None:
        renames["text"] = dataset.text
    known = {column for columns in EXPECTED.values() for column in columns}
    seen = list(dict.fromkeys(column for row in rows for column in row))
    for option, names in (("dataset.columns", renames), ("dataset.template", dataset.template)):
        if wrong := next((name for name in names if name not in known), None):
            raise DataInvalid(
                f"{option}: no format expects a column {shown(wrong)}",
                hint=f"Are the names the wrong way round? Before the colon write one of: {', '.join(sorted(known))}.",
            )
    for actual in renames.values():
        if actual not in seen:
            option = "dataset.text" if dataset.text == actual else "dataset.columns"
            raise DataInvalid(
                f"{name}: there is no column {shown(actual)} ({option}); its columns are {listed(map(shown, seen))}",
                hint=f"Set {option} to one of them.",
            )
    return renames


def _messages(heads: Heads) -> Layout | None:
    column = heads.column("messages", "conversation")
    return _conversation("messages", {"messages": column}, heads) if column else None


def _sharegpt(heads: Heads) -> Layout | None:
    column = heads.column("conversations")
    return _conversation("sharegpt", {"conversations": column}, heads) if column else None


def _alpaca(heads: Heads) -> Layout | None:
    instruction, output = heads.column("instruction"), heads.column("output", "response", "completion", "answer")
    if not instruction or not output:
        return None
    asked = heads.column("input", "context")
    columns = {"instruction": instruction, "output": output} | ({"input": asked} if asked else {})
    return _conversation("alpaca", columns, heads)


def _conversation(format: Format, columns: dict[str, str], heads: Heads) -> Layout:
    system = heads.column(*_SYSTEM)
    if system and ("system" in heads.renames or heads.holds_text(system)):
        columns = columns | {"system": system}
    for name in ("history", "tools"):
        if name in EXPECTED[format] and (column := heads.column(name)):
            columns = columns | {name: column}
    return Layout(format=format, kind="messages", columns=columns)


def _prompt_completion(heads: Heads) -> Layout | None:
    prompt, completion = heads.column("prompt"), heads.column("completion")
    guessed = not prompt or not completion
    if guessed:
        if heads.renames or heads.has(*_WOULD_BE_LOST):
            return None
        pair = _one_of_each(heads, _ASKS, _ANSWERS) or _one_of_each(heads, *_SPEAKERS)
        if pair is None:
            return None
        prompt, completion = pair
    assert prompt and completion
    columns = {"prompt": prompt, "completion": completion}
    if heads.holds_lists(prompt) or heads.renames.keys() & _BESIDE:  # these make a conversation
        return _conversation("prompt_completion", columns, heads)
    if not heads.renames and _has_beside(heads):
        return _conversation("alpaca", {"instruction": prompt, "output": completion}, heads)
    return Layout(
        format="prompt_completion", kind="prompt_completion", columns=columns, between="\n" if guessed else ""
    )


def _has_beside(heads: Heads) -> bool:
    """Whether a system prompt or tools stand beside a pair, which plain text has no place for."""
    system, tools = heads.column(*_SYSTEM), heads.column("tools")
    return bool((system and heads.holds_text(system)) or (tools and heads.holds_content(tools)))


def _one_of_each(heads: Heads, asks: tuple[str, ...], answers: tuple[str, ...]) -> tuple[str, str] | None:
    asking, answering = heads.all(*asks), heads.all(*answers)
    return (asking[0], answering[0]) if len(asking) == len(answering) == 1 else None


def _text(heads: Heads) -> Layout | None:
    column, alone = heads.column("text"), False
    if column is None and not heads.has(*_OF_ONE_TURN):
        content = [name for name in heads.names if heads.holds_content(name)]
        named = [name for name in heads.all("content", "quote") if heads.holds_text(name)]
        alone = len(content) == 1 and heads.holds_text(content[0])
        column = next(iter(content if alone else named), None)
    if column is None or (heads.has(*_ASKS, *_ANSWERS) and "text" not in heads.renames):
        return None
    return Layout(format="text", kind="text", columns={"text": column}, alone=alone)


_FINDERS: dict[Format, Callable[[Heads], Layout | None]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "text": _text,
}
