"""Which numbers of runs can be compared: what was measured otherwise has a mark."""

from pathlib import Path
from typing import Any

import pytest

from job.run.records import StageRecord
from job.tasks.scores import score
from k8s.results.tables import tables, values
from tests.k8s.results.compared import of, read, row
from tests.k8s.results.kept import keep


def test_what_was_measured_alike_has_no_mark(tmp_path: Path) -> None:
    keep(tmp_path, "a", text="a text")
    keep(tmp_path, "b", text="a text", lora={"r": 32}, model={"id": "other/model"})
    found = tables(read(tmp_path, "a", "b"))
    assert "†" not in str([one.rows for one in found])
    assert row(of(found, "Files"), "perplexity", "Q4_K_M") == ["6.46 ± 0.54", "6.46 ± 0.54"]
    assert row(of(found, "Training"), "held-out loss after") == ["1.7040", "1.7040"]


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"rows": "other rows"}, "measured on other held-out tokens"),
        ({"size": 32000}, "measured on other vocabulary"),
        ({"chunks": 7}, "measured on other windows"),
    ],
    ids=["rows", "vocabulary", "windows"],
)
def test_perplexities_on_other_rows_vocabularies_or_windows_are_marked(
    tmp_path: Path, other: dict[str, Any], why: str
) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", **other)
    found = of(tables(read(tmp_path, "a", "b")), "Files")
    for measure in ("perplexity", "KLD", "same top"):
        assert [cell.endswith(" †") for cell in row(found, measure, "Q4_K_M")] == [False, True]
    assert "†" not in "".join(row(found, "size", "Q4_K_M"))
    assert found.notes == [f"perplexity, KLD, same top: † B cannot be compared with A: {why}"]


def test_held_out_losses_on_other_rows_or_batches_are_marked(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", rows="other rows")
    keep(tmp_path, "c", training={"per_device_eval_batch_size": 2})
    found = of(tables(read(tmp_path, "a", "b", "c")), "Training")
    assert row(found, "held-out loss after") == ["1.7040", "1.7040 †1", "1.7040 †2"]
    assert any("†2 C cannot be compared with A: measured on other evaluation batch" in one for one in found.notes)


def test_a_text_and_a_processor_of_another_kind_are_marked(tmp_path: Path) -> None:
    keep(tmp_path, "a", text="a text")
    keep(tmp_path, "b", text="another text", device="another CPU")
    found = of(tables(read(tmp_path, "a", "b")), "Files")
    assert row(found, "on text", "Q8_0") == ["9.00 ± 0.10", "9.00 ± 0.10 †"]
    assert row(found, "ms/token, 4 threads", "Q8_0") == ["41.5", "41.5 †"]
    assert "†" not in "".join(row(found, "perplexity", "Q8_0"))


def scored_on(cases: str, **settings: Any) -> dict[str, StageRecord | None]:
    """`cases`: the digest of the file."""
    scores = {who: score(37, 50)._asdict() | {"against": None, "drop": None} for who in ("base", "tuned", "q8_0")}
    inputs = {"cases": [cases, {"id": "cases.jsonl"} | settings]}
    metrics = {"cases": 50, "scores": scores, "regressions": []}
    return {"tasks": StageRecord(stage="tasks", key="k", artifacts=[], inputs=inputs, metrics=metrics)}


def test_scores_of_other_cases_or_longer_answers_are_marked(tmp_path: Path) -> None:
    for name, records in {
        "a": scored_on("cases"),
        "b": scored_on("cases"),
        "c": scored_on("other cases"),
        "d": scored_on("cases", max_new_tokens=8),
        "e": scored_on("other cases"),
    }.items():
        keep(tmp_path, name, records=records)
    runs = read(tmp_path, *"abcde")
    found = of(tables(runs), "Files")
    shares = "74% (60% to 84%) of 50"
    for who in ("base model", "tuned model", "Q8_0"):
        assert row(found, "score", who) == [shares, shares, f"{shares} †1", f"{shares} †2", f"{shares} †1"]
    assert "†" not in "".join(row(found, "perplexity", "Q8_0"))
    assert found.notes == [
        "score: †1 C, E cannot be compared with A: measured on other cases",
        "score: †2 D cannot be compared with A: measured on other cases",
    ]
    measure = next(one for one in values(runs)["measures"] if (one["name"], one["of"]) == ("score", "Q8_0"))
    assert measure["comparable"] == {"A": 0, "B": 0, "C": 1, "D": 2, "E": 1} and measure["values"]["D"] == 0.74


def test_scores_of_which_the_cases_are_not_known_are_marked(tmp_path: Path) -> None:
    records = scored_on("cases")
    assert records["tasks"]
    keep(tmp_path, "a", records=records)
    keep(tmp_path, "b", records={"tasks": records["tasks"].model_copy(update={"inputs": None})})
    assert row(of(tables(read(tmp_path, "a", "b")), "Files"), "score", "tuned model")[1].endswith("†")


def test_runs_with_the_same_mark_can_be_compared_with_each_other(tmp_path: Path) -> None:
    for name, rows in (("a", "x"), ("b", "y"), ("c", "z"), ("d", "y")):
        keep(tmp_path, name, rows=rows)
    runs = read(tmp_path, *"abcd")
    cells = row(of(tables(runs), "Files"), "perplexity", "F16")
    assert [cell[11:] for cell in cells] == ["", " †1", " †2", " †1"]
    measure = next(one for one in values(runs)["measures"] if (one["name"], one["of"]) == ("perplexity", "F16"))
    assert measure["comparable"] == {"A": 0, "B": 1, "C": 2, "D": 1} and measure["values"]["A"] == 6.25


def test_what_is_not_known_to_be_comparable_is_marked(tmp_path: Path) -> None:
    """By releases that did not keep on what they measured."""
    keep(tmp_path, "a", records={"tokens": None})
    keep(tmp_path, "b", records={"tokens": None})
    found = of(tables(read(tmp_path, "a", "b")), "Files")
    assert row(found, "perplexity", "F16")[1].endswith("†")
    assert "it is not recorded on what they were measured" in found.notes[0]
