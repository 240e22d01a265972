"""How an answer is compared with what is expected. Nothing of a case is run or fetched; each comparison is bounded."""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal

from job.bounds import Exceeded, bounded

Compare = Literal["exact", "contains", "regex", "json", "json_schema", "numeric"]
SECONDS, MEMORY = 2.0, 1 << 30
"""What one comparison may take: a pattern or a schema may need more than anybody has."""
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?```", re.S | re.I)
_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")


class Unfit(Exception):
    """Why nothing can be compared with what is expected."""


def check(compare: Compare, expected: Any, tolerance: float) -> None:
    """Raises Unfit."""
    is_text = isinstance(expected, str) and expected.strip()
    if compare in ("exact", "contains", "regex") and not is_text:
        raise Unfit(f"`expected` must be a text for compare: {compare}")
    if tolerance and compare != "numeric":
        raise Unfit("`tolerance` is for compare: numeric; leave it out")
    try:
        with bounded(SECONDS, MEMORY):
            _CHECKS[compare](expected, "", tolerance)
    except Exceeded as error:
        raise Unfit(f"to compare with `expected`, {error}") from error
    except RecursionError as error:
        raise Unfit("`expected` refers to itself without an end") from error


def is_right(compare: Compare, expected: Any, tolerance: float, answer: str) -> bool:
    """Raises Exceeded if that cannot be told within the bounds."""
    with bounded(SECONDS, MEMORY):
        try:
            return _CHECKS[compare](expected, answer, tolerance)
        except RecursionError as error:
            raise Exceeded("it is nested too deeply") from error


def _exact(expected: Any, answer: str, _: float) -> bool:
    return bool(answer.strip() == expected.strip())


def _contains(expected: Any, answer: str, _: float) -> bool:
    return bool(expected in answer)


def _regex(expected: Any, answer: str, _: float) -> bool:
    try:
        return re.search(expected, answer) is not None
    except (re.error, OverflowError) as error:
        raise Unfit(f"`expected` is not a regular expression: {error}") from error


def _json(expected: Any, answer: str, _: float) -> bool:
    """A text that is expected is JSON in a text, as tables hold it."""
    if isinstance(expected, str):
        try:
            expected = json.loads(expected)
        except ValueError as error:
            raise Unfit(f"`expected` is not JSON: {error}; write the value itself, or its JSON as a text") from error
    try:
        return _equal(expected, _json_of(answer))
    except ValueError:
        return False


def _schema(expected: Any, answer: str, _: float) -> bool:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    schema = _parsed_schema(expected)
    try:
        Draft202012Validator.check_schema(schema)
        validator = Draft202012Validator(schema, registry=Registry())  # an empty one: nothing is fetched
        if not answer:  # does it work at all?
            all(map(validator.is_valid, [{}, [], "", 0]))
        return bool(validator.is_valid(_json_of(answer)))
    except SchemaError as error:
        raise Unfit(f"`expected` is not a JSON schema: {error.message[:200]}") from error
    except (re.error, OverflowError) as error:
        raise Unfit(f"`expected` has a pattern that is not a regular expression: {error}") from error
    except Unresolvable as error:
        raise Unfit(f"`expected` refers to {error.ref!r:.200}, which is not in it; nothing is fetched") from error
    except ValueError:
        return False


def _parsed_schema(expected: Any) -> Any:
    try:
        schema = json.loads(expected) if isinstance(expected, str) else expected
    except ValueError as error:
        raise Unfit(f"`expected` is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise Unfit("`expected` must be a JSON schema, an object, for compare: json_schema")
    return schema


def _numeric(expected: Any, answer: str, tolerance: float) -> bool:
    """The last number of the answer, as `12`, `-3.5`, `1,250` or `2e3`."""
    try:
        wanted = float(str(expected).replace(",", "")) if not isinstance(expected, bool) else math.nan
    except ValueError:
        wanted = math.nan
    if not math.isfinite(wanted):
        raise Unfit("`expected` must be a number for compare: numeric")
    found = _NUMBER.findall(answer)
    return bool(found) and abs(float(found[-1].replace(",", "")) - wanted) <= tolerance


_CHECKS: dict[Compare, Callable[[Any, str, float], bool]] = {
    "exact": _exact,
    "contains": _contains,
    "regex": _regex,
    "json": _json,
    "json_schema": _schema,
    "numeric": _numeric,
}


def _json_of(answer: str) -> Any:
    """An answer's JSON, alone or in a block of code. Raises ValueError."""
    found = _FENCED.search(answer)
    return json.loads(found[1] if found else answer)


def _equal(one: Any, other: Any) -> bool:
    """As JSON has it: true is not 1, and 1 is 1.0; the order of an object's names does not count."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
