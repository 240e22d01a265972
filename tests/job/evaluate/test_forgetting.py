"""What a training has forgotten of other text is shown in one line, and can be refused."""

from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from job.errors import QualityRejected
from job.evaluate import gate
from job.report.page import page
from job.report.table import columns, lines
from job.run.records import StageRecord
from job.spec import JobSpec
from tests.job.report.facts import facts, perplexity, record

TEXT = {"id": "me/book"}


def traced(base: float, tuned: float, **windows: int) -> dict[str, Any]:
    return {
        "base": perplexity(base),
        "tuned": perplexity(tuned),
        "ratio_error": 0.02,
        "context": 512,
        "chunks": 9,
    } | windows


def spec(**gate: Any) -> JobSpec:
    given = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "evaluation": {"text": TEXT, "gate": gate}}
    return JobSpec.model_validate(given)


def measured(base: float, tuned: float, **windows: int) -> dict[str, StageRecord]:
    """Records of a run that was judged on a text, too."""
    found = dict(facts().records)
    text = {"context": 512, "chunks": 9, "perplexity": perplexity(tuned)}
    for name, one in found.items():
        if name.startswith("evaluate/"):
            found[name] = one.model_copy(update={"metrics": one.metrics | {"text": text}})
    train = found["train"].metrics | {"text_trace": traced(base, tuned, **windows)}
    return found | {"train": record("train", **train)}


def cells(records: dict[str, StageRecord]) -> dict[str, dict[str, str]]:
    found = lines(facts().quants, records)
    return {line.name: {one.heading: one.shown(line) for one in columns(found)} for line in found}


def test_better_on_the_rows_and_worse_on_everything_else_is_one_line() -> None:
    found = cells(measured(20.0, 30.0))
    assert found["(tuned model)"]["of base"] == "rows 0.29 ± 0.01, text 1.50 ± 0.03"
    assert found["(base model)"]["on text"].startswith("20.00 ±")
    assert found["(tuned model)"]["on text"].startswith("30.00 ±")
    assert found["(base model)"]["of base"] == ""


def test_other_windows_of_the_text_are_not_compared() -> None:
    found = cells(measured(20.0, 30.0, chunks=8))
    assert "of base" not in found["(tuned model)"] and found["(tuned model)"]["on text"] == ""


def test_without_a_text_the_table_is_as_it_was() -> None:
    assert "of base" not in {one.heading for one in columns(facts().lines)}


def test_what_is_forgotten_beyond_the_limit_and_its_error_is_not_published() -> None:
    records = measured(20.0, 30.0)
    gate.check(spec(), records)
    gate.check(spec(max_text_ratio=1.45), records)  # 1.5 ± 0.03 is within the error
    with pytest.raises(QualityRejected, match=r"evaluation\.text is 1\.5 ± 0\.03 times .*\(30 after 20\); 1\.4 is"):
        gate.check(spec(max_text_ratio=1.4), records)


def test_a_limit_for_which_nothing_was_measured_is_told() -> None:
    with capture_logs() as said:
        gate.check(spec(max_text_ratio=1.4), facts().records)
    assert "max_text_ratio" in next(one["what"] for one in said if one["event"] == "gate.not_measured")


@pytest.mark.parametrize(
    "sections",
    [
        {"evaluation": {}},
        {"evaluation": {"text": TEXT, "judge": False}},
        {"training": None, "evaluation": {"text": TEXT}},
    ],
)
def test_a_limit_for_what_is_not_measured_is_a_fault_of_the_spec(sections: dict[str, Any]) -> None:
    given = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}} | sections
    given["evaluation"] = given["evaluation"] | {"gate": {"max_text_ratio": 1.2}}
    with pytest.raises(ValidationError, match=r"evaluation\.gate\.max_text_ratio"):
        JobSpec.model_validate(given)


def test_the_page_says_what_the_column_is() -> None:
    assert "of base" not in page(facts())
