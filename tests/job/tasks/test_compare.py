"""How an answer is compared; nothing that a case holds is run, fetched or computed without an end."""

import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from job.bounds import Exceeded
from job.tasks.compare import Compare, Unfit, check, is_right

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("compare", "expected", "right", "wrong"),
    [
        ("exact", "Paris", " Paris\n", "Paris."),
        ("exact", "Paris", "Paris", "paris"),
        ("contains", "Paris", "It is Paris.", "It is Rome."),
        ("regex", r"^(yes|no)\b", "yes, it is", "well, yes"),
        ("json", {"a": 1, "b": [True]}, '{"b": [true], "a": 1.0}', '{"b": [1], "a": 1}'),
        ("json", '{"a": null}', 'Here:\n```json\n{"a": null}\n```', '{"a": 0}'),
        ("json", [1, 2], "[1, 2]", "[2, 1]"),
        ("json", {"a": 1}, '{"a": 1}', '{"a": 1, "b": 2}'),
        ("json", True, "true", "1"),
        ("json", {"a": 1}, '{"a": 1}', "no JSON at all"),
        ("json_schema", SCHEMA, '{"n": 4}', '{"n": "four"}'),
        ("json_schema", SCHEMA, '```\n{"n": 4}\n```', '{"n": 4, "m": 5}'),
        ("json_schema", {"type": "array", "items": {"$ref": "#/$defs/a"}, "$defs": {"a": {"const": 1}}}, "[1]", "[2]"),
        ("numeric", 1250, "First 3 and then 1,250", "1,251"),
        ("numeric", "-2.5", "it is -2.5", "it is 2.5"),
        ("numeric", 2000, "2e3", "no number"),
    ],
)
def test_what_is_right_and_what_is_not(compare: Compare, expected: Any, right: str, wrong: str) -> None:
    check(compare, expected, 0.0)
    assert is_right(compare, expected, 0.0, right) and not is_right(compare, expected, 0.0, wrong)


def test_a_number_may_be_off_by_its_tolerance() -> None:
    assert is_right("numeric", 10, 0.5, "10.5") and not is_right("numeric", 10, 0.5, "10.51")


@pytest.mark.parametrize(
    ("compare", "expected", "why"),
    [
        ("exact", 4, "must be a text"),
        ("contains", " ", "must be a text"),
        ("regex", "(", "not a regular expression"),
        ("json", "{", "not JSON"),
        ("json_schema", [1], "must be a JSON schema"),
        ("json_schema", {"type": "none"}, "not a JSON schema"),
        ("json_schema", {"$ref": "https://example.com/schema.json"}, "nothing is fetched"),
        ("json_schema", {"$ref": "#/$defs/no"}, "which is not in it"),
        ("json_schema", {"$ref": "#"}, "refers to itself"),
        ("numeric", "ten", "must be a number"),
        ("numeric", True, "must be a number"),
        ("numeric", "inf", "must be a number"),
    ],
)
def test_what_cannot_be_compared_is_known_beforehand(compare: Compare, expected: Any, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        check(compare, expected, 0.0)


def test_a_tolerance_that_nothing_would_use_is_refused() -> None:
    with pytest.raises(Unfit, match="tolerance"):
        check("exact", "a", 0.1)


def test_no_address_of_a_schema_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for address in ("http://localhost:9/a.json", "file:///etc/hostname", "https://json-schema.org/other"):
        for schema in ({"$ref": address}, {"type": "object", "properties": {"a": {"$ref": f"{address}#/b"}}}):
            if "$ref" in schema:
                with pytest.raises(Unfit):
                    check("json_schema", schema, 0.0)


def test_a_pattern_without_an_end_is_given_up() -> None:
    check("regex", r"^(a+)+$", 0.0)
    begun = time.process_time()
    with pytest.raises(Exceeded):
        is_right("regex", r"^(a+)+$", 0.0, "a" * 60 + "b")
    with pytest.raises(Exceeded):
        is_right("json_schema", {"pattern": "^(a+)+$"}, 0.0, '"' + "a" * 60 + 'b"')
    assert time.process_time() - begun < 10


def test_a_schema_that_doubles_itself_is_given_up_beforehand() -> None:
    names = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {}}
    with pytest.raises(Unfit, match="it takes more than"):
        check("json_schema", {"$ref": "#/$defs/d0", "$defs": names}, 0.0)


def test_an_answer_that_is_nested_too_deeply_is_wrong_or_given_up() -> None:
    with suppress(Exceeded):
        assert not is_right("json", {"a": 1}, 0.0, "[" * 100_000)
