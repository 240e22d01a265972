"""What is not trained as it was given is a warning in every run, with its number."""

from types import SimpleNamespace
from typing import Any

import structlog.testing

from job.pipeline.rows import tell_rows
from job.spec import JobSpec
from job.tokens.lengths import Counts, lengths_of


def told(data: dict[str, Any] | None = None, **parts: dict[str, int]) -> dict[str, dict[str, Any]]:
    """Warnings by their name; `parts`: what is not usual in a part of 100 rows of 40 tokens."""
    spec = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "training": {"max_length": 32}})
    usual = {"rows": 100, "too_long": 0, "dropped": 0, "unlearned": 0}
    counts = {part: Counts(**usual | given, lengths=lengths_of({40: 100})) for part, given in parts.items()}
    state: Any = SimpleNamespace(
        spec=spec,
        known=SimpleNamespace(fetched={"data": data}),
        files=SimpleNamespace(tokens=SimpleNamespace(counts=counts)),
    )
    with structlog.testing.capture_logs() as records:
        tell_rows(state)
    assert {record["log_level"] for record in records} <= {"warning"}
    return {f"{record['event']} {record.get('of', '')}".strip(): record for record in records}


def test_of_rows_that_are_used_as_given_nothing_is_told() -> None:
    assert told({"duplicates": 0, "dropped": 0, "eval_seen": 0, "eval_rows": 9}, train={}, eval={}) == {}
    assert told() == {}


def test_repeated_rows_are_told_with_what_is_done_with_them() -> None:
    kept = told({"duplicates": 40, "dropped": 0, "eval_seen": 0})["data.duplicates"]
    assert (kept["rows"], kept["dropped"]) == (40, 0)
    assert "40 rows are equal to an earlier one" in kept["what"] and "dataset.duplicates: drop" in kept["what"]
    dropped = told({"duplicates": 1, "dropped": 1, "eval_seen": 0})["data.duplicates"]
    assert dropped["what"] == "1 row is equal to an earlier one: left out"


def test_held_out_rows_that_are_trained_too_are_told() -> None:
    seen = told({"duplicates": 0, "dropped": 0, "eval_seen": 3, "eval_rows": 25})["data.held_out_seen"]
    assert "3 of 25 held-out rows stand among the rows to train on too" in seen["what"]


def test_cut_rows_are_told_and_from_a_twentieth_on_what_to_set() -> None:
    few = told(train={"too_long": 5})["tokens.cut train"]
    assert (few["rows"], few["share"]) == (5, 0.05)
    assert "dataset.too_long" not in few["what"]
    many = told(train={"too_long": 6})["tokens.cut train"]
    assert "6 of 100 rows to train on (6.0%)" in many["what"]
    assert "training.max_length: 40 would hold 99% of them whole, and dataset.too_long: drop" in many["what"]


def test_rows_left_out_for_their_length_are_told_for_each_part() -> None:
    found = told(train={"too_long": 7, "dropped": 7}, eval={"too_long": 2, "dropped": 2})
    assert set(found) == {"tokens.too_long train", "tokens.too_long eval"}
    assert found["tokens.too_long eval"]["what"] == "left out: 2 of 100 held-out rows, which have more than 32 tokens"
