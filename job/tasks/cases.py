"""The cases of `evaluation.tasks`: read from the user's file, and checked before anything is computed.

A row is {"prompt": TEXT} or {"messages": [{"role": …, "content": TEXT}, …]}, with "expected" and, if it is not `exact`,
"compare"; "tolerance" for numbers.
"""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, get_args

from pydantic import JsonValue

from job.artifacts import Frozen, written_whole
from job.dataset.readers import read_rows
from job.dataset.rows import Broken, listed
from job.dataset.splits import local_files
from job.errors import DataInvalid
from job.spec.places import shown_place
from job.spec.sections import Dataset
from job.tasks.compare import Compare, Unfit, check

MOST = 10_000
"""Cases: each is answered by the base model, the tuned model and every file."""
_FIELDS = ("prompt", "messages", "expected", "compare", "tolerance")
_ROLES = ("system", "user", "assistant")


class Case(Frozen):
    """`source`: the file and line of the row. One of `prompt` and `messages` is set."""

    source: str
    prompt: str | None = None
    messages: list[dict[str, str]] = []
    expected: JsonValue
    compare: Compare = "exact"
    tolerance: float = 0.0


def write_cases(dataset: Dataset, path: Path, out: Path) -> Path:
    """The cases as JSON, a line each. Raises DataInvalid with the line of the first one that cannot be used."""
    count = 0
    with written_whole(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for case in cases_of(dataset, path):
            count += 1
            if count > MOST:
                raise DataInvalid(
                    f"evaluation.tasks: {shown_place(dataset.id)} has more than {MOST:,} cases",
                    hint="Every model and file answers each of them; name a part of them.",
                )
            file.write(case.model_dump_json() + "\n")
    if not count:
        raise DataInvalid(f"evaluation.tasks: {shown_place(dataset.id)} contains no cases")
    return out


def read_cases(path: Path) -> list[Case]:
    """What `write_cases` has written."""
    with path.open(encoding="utf-8") as file:
        return [Case.model_validate_json(line) for line in file]


def cases_of(dataset: Dataset, path: Path) -> Iterator[Case]:
    """Raises DataInvalid, as `write_cases` does, and NotFound for a split that does not exist."""
    for file in local_files(dataset, path, dataset.split):
        with closing(read_rows(file)) as rows:
            for number, row in rows:
                where = f"{file.name}, line {number}"
                try:
                    if isinstance(row, Broken):
                        raise Unfit(row.why)
                    yield _case(row, where)
                except Unfit as error:
                    _refuse(where, str(error))


def _case(row: dict[str, Any], where: str) -> Case:
    given = {name: value for name, value in row.items() if value is not None}  # a table's empty cells
    if unknown := [name for name in given if name not in _FIELDS]:
        raise Unfit(f"unknown field {listed(unknown)}; a case has {', '.join(_FIELDS)}")
    if ("prompt" in given) == ("messages" in given):
        raise Unfit("a case has either `prompt` or `messages`")
    if "expected" not in given:
        raise Unfit("`expected` is missing")
    compare, tolerance = given.get("compare", "exact"), given.get("tolerance", 0.0)
    if compare not in get_args(Compare):
        raise Unfit(f"`compare` is not one of {', '.join(get_args(Compare))}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float):
        raise Unfit("`tolerance` must be a number")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise Unfit("`tolerance` must be a number from 0 on")
    check(compare, given["expected"], tolerance)
    asked: dict[str, Any] = {"prompt": _prompt(given["prompt"])} if "prompt" in given else {}
    if "messages" in given:
        asked["messages"] = _messages(given["messages"])
    return Case(source=where, expected=given["expected"], compare=compare, tolerance=tolerance, **asked)


def _prompt(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Unfit("`prompt` must be a text")
    return value


def _messages(value: Any) -> list[dict[str, str]]:
    """A conversation that asks for an answer."""
    try:
        turns = json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise Unfit("`messages` is a text that is not JSON") from error
    if not isinstance(turns, list) or not turns:
        raise Unfit("`messages` must be a list of turns")
    for number, turn in enumerate(turns, 1):
        fits = isinstance(turn, dict) and turn.keys() == {"role", "content"}
        if not fits or turn["role"] not in _ROLES or not isinstance(turn["content"], str):
            raise Unfit(f"`messages`, turn {number}: a turn has `role` ({', '.join(_ROLES)}) and `content`, a text")
    if turns[-1]["role"] != "user":
        raise Unfit("the last turn of `messages` must be the user's: what follows is to be answered")
    return turns


def _refuse(where: str, why: str) -> NoReturn:
    raise DataInvalid(f"evaluation.tasks: {where}: {why}", hint="docs/evaluation.md says what a case is.")
