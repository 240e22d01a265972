"""Scores with intervals that hold for few cases, and the cases that got worse."""

from typing import Any

import pytest

from job.tasks.scores import Given, drop, score, summary


@pytest.mark.parametrize(
    ("right", "cases", "low", "high"),
    [(0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(right: int, cases: int, low: float, high: float) -> None:
    """The values of Newcombe, Statistics in Medicine 17, 1998, table I, and of the formula at its ends."""
    found = score(right, cases)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def answered(both: int, lost: int, won: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * (both + lost) + [False] * (won + neither)
    after = [True] * both + [False] * lost + [True] * won + [False] * neither
    return before, after


def test_a_drop_of_the_same_cases_has_a_narrower_interval_than_of_others() -> None:
    same = drop(*answered(60, 10, 0, 30))
    other = drop(*answered(42, 28, 18, 12))
    assert same.value == other.value == pytest.approx(0.1)
    assert same.high - same.low < other.high - other.low
    assert same.low > 0 > other.low


def test_nothing_lost_is_no_drop_and_all_lost_is_all() -> None:
    none, every = drop(*answered(20, 0, 0, 0)), drop(*answered(0, 20, 0, 0))
    assert none.value == 0 and none.low <= 0 <= none.high
    assert every.value == 1 and every.low > 0.7 and every.high == 1


def given(*right: int) -> list[Given]:
    return [Given(answer=f"answer {n}", right=bool(one)) for n, one in enumerate(right)]


ASKED: list[dict[str, Any]] = [{"text": f"case {n}", "expected": {"n": n}, "compare": "json"} for n in range(4)]


def test_the_worst_regression_is_that_of_most() -> None:
    every = {"base": given(1, 1, 0, 1), "tuned": given(1, 0, 1, 1), "f16": given(1, 0, 1, 0), "q4_0": given(0, 0, 1, 0)}
    found = summary(ASKED, every, "f16")
    assert [(one["case"], one["worse"]) for one in found["regressions"]] == [
        (4, ["f16", "q4_0"]),
        (1, ["q4_0"]),
        (2, ["tuned"]),
    ]
    assert {name: one.get("against") for name, one in found["scores"].items()} == {
        "base": None, "tuned": "base", "f16": "tuned", "q4_0": "tuned",
    }  # fmt: skip
    assert found["regressions"][0]["expected"] == '{"n": 3}' and found["cases"] == 4


def test_without_training_a_type_is_compared_with_the_unquantized_file() -> None:
    found = summary(ASKED, {"bf16": given(1, 1, 1, 1), "q4_0": given(1, 0, 1, 1)}, "bf16")["scores"]
    assert found["q4_0"]["against"] == "bf16" and found["bf16"]["against"] is None
    assert found["q4_0"]["drop"]["value"] == 0.25
