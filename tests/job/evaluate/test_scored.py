"""A score is refused if it is too low, or has dropped too far, beyond its interval."""

from typing import Any

import pytest
from pydantic import ValidationError

from job.errors import QualityRejected
from job.evaluate import gate
from job.report.card import card
from job.report.page import page
from job.report.table import columns
from job.run.records import StageRecord
from job.spec import JobSpec
from job.tasks.scores import Given, summary
from tests.job.report.facts import HOSTILE, facts, record

CASES = 50


def answers(right: int, said: str = "an answer") -> list[Given]:
    return [Given(answer=said, right=n < right) for n in range(CASES)]


def scored(base: int, tuned: int, file: int, said: str = "an answer") -> dict[str, StageRecord]:
    asked = [{"text": said, "expected": said, "compare": "exact"} for _ in range(CASES)]
    given = {"base": answers(base), "tuned": answers(tuned), "q4_k_m": answers(file, said)}
    return dict(facts().records) | {"tasks": record("tasks", **summary(asked, given, "f16"))}


def spec(**gate: Any) -> JobSpec:
    evaluation = {"tasks": {"id": "me/cases"}, "gate": gate}
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "evaluation": evaluation})


def test_a_score_below_the_least_by_more_than_its_interval_is_refused() -> None:
    gate.check(spec(min_score=0.8), scored(10, 40, 36))  # 72% of 50 may be 80%
    with pytest.raises(QualityRejected, match=r"Q4_K_M: 25 of 50 answers are right, at most 63% .* 80% are demanded"):
        gate.check(spec(min_score=0.8), scored(10, 40, 25))


def test_the_base_need_not_reach_it() -> None:
    gate.check(spec(min_score=0.8), scored(0, 45, 45))


def test_a_drop_beyond_its_interval_is_refused() -> None:
    gate.check(spec(max_score_drop=0.1), scored(40, 38, 36))
    with pytest.raises(QualityRejected, match=r"the tuned model: 20 of 50 .*, after 40 of base") as found:
        gate.check(spec(max_score_drop=0.1), scored(40, 20, 20))
    assert "Q4_K_M" not in found.value.message
    with pytest.raises(QualityRejected, match="Q4_K_M: 10 of 50 answers are right, after 40 of tuned"):
        gate.check(spec(max_score_drop=0.0), scored(40, 40, 10))


@pytest.mark.parametrize("gate", [{"min_score": 0.5}, {"max_score_drop": 0.1}])
def test_a_limit_for_scores_without_cases_is_a_fault_of_the_spec(gate: dict[str, float]) -> None:
    given = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "evaluation": {"gate": gate}}
    with pytest.raises(ValidationError, match="nothing is scored"):
        JobSpec.model_validate(given)


def test_scores_stand_in_the_table_and_the_worst_regressions_beside_each_other() -> None:
    shown = facts()
    object.__setattr__(shown, "records", scored(40, 38, 20, HOSTILE))
    (column,) = [one for one in columns(shown.lines) if one.heading == "score"]
    found = {line.name: column.shown(line) for line in shown.lines if line.score}
    assert found["(base model)"] == "80% (67% to 89%) of 50" and len(found) == 3
    html, text = page(shown), card(shown, None)
    for made in (html, text):
        assert "wrong in Q4_K_M" in made
    assert "\x1b" not in text and "<script>alert" not in html.split("<h2")[1]
    assert not any(line.startswith(("#", "[")) and "HOSTILE" in line for line in text.splitlines())
