"""How long rows are, and what is done with those that are too long."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import DataInvalid
from job.tokens.lengths import lengths_of
from tests.job.tokens.making import made, rows_in

ROWS: list[dict[str, Any]] = [{"text": "A row. " * n, "source": f"a.jsonl:{n}"} for n in range(1, 11)]


def longer_than(most: int, folder: Path) -> int:
    whole = made(folder, ROWS, "text", training={"max_length": 1000})
    assert whole.train and whole.counts["train"].too_long == 0
    return sum(row["length"] > most for row in rows_in(whole.train.path))


def rows(too_long: str) -> list[dict[str, Any]]:
    return [row | {"too_long": too_long} for row in ROWS]


def test_rows_that_are_too_long_are_cut_and_counted(tmp_path: Path) -> None:
    expected = longer_than(16, tmp_path)
    found = made(tmp_path, ROWS, "text", training={"max_length": 16})
    assert 0 < expected < 10
    for part, made_rows in (("train", found.train), ("eval", found.eval)):
        assert made_rows and made_rows.rows == 10
        assert (found.counts[part].rows, found.counts[part].too_long, found.counts[part].dropped) == (10, expected, 0)


def test_they_are_left_out_if_the_spec_says_so(tmp_path: Path) -> None:
    expected = longer_than(16, tmp_path)
    found = made(tmp_path, rows("drop"), "text", training={"max_length": 16})
    assert found.train and found.calibration
    assert (found.train.rows, found.train.cut, found.counts["train"].dropped) == (10 - expected, 0, expected)
    assert all(row["length"] == len(row["input_ids"]) for row in rows_in(found.train.path))
    assert max(map(len, found.calibration.read_text().splitlines())) < len(ROWS[-1]["text"])


def test_they_end_the_run_with_their_lines_and_what_would_hold_them(tmp_path: Path) -> None:
    longest = made(tmp_path, ROWS, "text", training={"max_length": 1000}).counts["train"].lengths
    assert longest
    with pytest.raises(DataInvalid, match=r"rows have more tokens than training\.max_length, 16: a\.jsonl:") as refusal:
        made(tmp_path, rows("fail"), "text", training={"max_length": 16})
    assert f"Set training.max_length: {longest.longest}" in str(refusal.value)
    assert made(tmp_path, rows("fail"), "text", training={"max_length": longest.longest}).counts["train"].too_long == 0


def test_rows_of_sets_with_other_wishes_are_treated_as_theirs_says(tmp_path: Path) -> None:
    found = made(tmp_path, [*ROWS[8:], *rows("drop")[8:]], "text", training={"max_length": 16})
    assert found.train and (found.train.rows, found.train.cut, found.counts["train"].dropped) == (2, 2, 2)


def test_percentiles_are_lengths_that_hold_a_share_of_the_rows() -> None:
    lengths = lengths_of({10: 50, 20: 45, 300: 4, 5000: 1})
    assert lengths
    assert (lengths.p50, lengths.p95, lengths.p99, lengths.longest) == (10, 20, 300, 5000)
    assert [one for one in lengths.bins if one[1]] == [(16, 50), (24, 45), (384, 4), (6144, 1)]
    assert [end for end, _ in lengths.bins][:6] == [16, 24, 32, 48, 64, 96], "bins without rows are there too"
    assert lengths_of({}) is None


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 24, 25, 32, 33, 48, 49, 64, 1024, 1025, 100_000])
def test_a_bin_holds_what_is_counted_in_it(length: int) -> None:
    lengths = lengths_of({length: 1})
    assert lengths
    ((end, rows),) = lengths.bins
    assert (rows, lengths.p50, lengths.longest) == (1, length, length)
    assert length <= end and (end == 16 or length > end * 2 / 3 - 1)
