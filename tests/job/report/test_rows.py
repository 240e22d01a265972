"""What a run says of its rows: how many were trained, and which were not used as they were given."""

from typing import Any

from job.report.card import card
from job.report.page import page
from job.report.rows import rows_of
from tests.job.report.facts import facts, record

DATA = {"broken": 2, "duplicates": 10, "dropped": 4, "eval_seen": 3, "left_out": {"rows": {"id": 90}}}
COUNTS = {
    "rows": 100, "too_long": 12, "dropped": 5, "unlearned": 1,
    "lengths": {"p50": 40, "p95": 900, "p99": 1500, "longest": 3000, "bins": [[48, 80], [1024, 14], [3072, 6]]},
}  # fmt: skip
TOLD = {
    "broken, left out": 2,
    "equal to an earlier row, left out": 4,
    "equal to an earlier row, trained again": 6,
    "held out and among the trained rows too": 3,
    "too long, cut": 7,
    "too long, left out": 5,
    "without a token to learn, left out": 1,
    "column id, not trained": 90,
    "tools, not shown by the chat template": 8,
}


def counted(**changed: Any) -> Any:
    given = facts()
    given.records["fetch"].metrics["data"] = {"kind": "messages"} | DATA
    given.records["tokens"].metrics.update(
        train={"rows": 94, "tokens": 8000, "trained": 2000, "cut": 7},
        eval={"rows": 9},
        counts={"train": COUNTS | changed},
        left_out={"tools": 8},
    )
    return given


def test_every_number_of_the_records_is_told() -> None:
    rows = rows_of(counted().records)
    assert rows
    assert (rows.trained, rows.held_out, rows.tokens, rows.share) == (94, 9, 8000, 0.25)
    assert dict(rows.told) == TOLD


def test_the_report_has_them_all_and_a_histogram() -> None:
    html = page(counted())
    assert "94 rows were trained: 8,000 tokens, of which 2,000 have a loss (25.0%). 9 rows were held out." in html
    for words, rows in TOLD.items():
        assert f"<tr><td>{words}</td><td>{rows}</td></tr>" in html
    assert "tokens of a row, at most (max_length: 1,024)" in html
    assert "half have at most 40, 95% 900, 99% 1,500, the longest 3,000" in html


def test_the_card_has_them_in_a_sentence() -> None:
    text = card(counted(), plot=None)
    assert "94 rows of 8,000 tokens, of which 25% have a loss; 9 rows were held out." in text
    assert "7 too long, cut; 5 too long, left out;" in text


def test_a_run_of_which_nothing_is_counted_is_shown_too() -> None:
    assert rows_of({"fetch": record("fetch"), "tokens": record("tokens", train={"rows": 1})}) is None
    assert 'id="rows"' not in page(facts())
