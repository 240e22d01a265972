"""The table of times: what was estimated, beside what it took."""

from job.report.times import Time, times, took
from job.run.usage import Usage
from tests.job.report.facts import facts, record

USAGE = [
    Usage(began=0, seconds=[0, 10, 20, 30], stages=["fetch", "fetch", "train", "train"], memory=[1, 1, 1, 1]),
    Usage(began=0, seconds=[0, 40, 50], stages=["train", "train", "export"], memory=[1, 1, 1]),
]


def test_what_a_stage_took_is_the_sum_over_all_attempts() -> None:
    assert took(USAGE) == {"fetch": 10, "train": 60, "export": 10}


def test_each_stage_is_shown_with_its_estimate() -> None:
    estimate = record("estimate", fetch={"likely": 8.0, "most": 8.0}, imatrix={"likely": 5.0, "most": 9.0})
    assert times({"estimate": estimate}, USAGE) == [
        Time("fetch", 8.0, 8.0, 10),
        Time("imatrix", 5.0, 9.0, None),  # it was there already
        Time("train", None, None, 60),
        Time("export", None, None, 10),
    ]
    assert times({}, USAGE)[0] == Time("fetch", None, None, 10)


def test_the_page_shows_them() -> None:
    from job.report.page import page

    made = facts()
    made = type(made)(
        made.spec, made.run, made.files,
        {**made.records, "estimate": record("estimate", train={"likely": 100.4, "most": None})}, made.usage,
    )  # fmt: skip
    said = page(made)
    assert "<td>train</td><td>1 min 40 s</td><td></td><td>1 min 20 s</td>" in said
