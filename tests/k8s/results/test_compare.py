"""Runs side by side: what differs, which numbers can be compared, and that nothing by others does any harm."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.run.records import StageRecord
from job.store import open_store
from job.tasks.scores import score
from k8s.results.compare import Entry, named
from k8s.results.curves import curves, letters, svg
from k8s.results.differences import differences
from k8s.results.tables import Table, letter, tables, values
from tests import forks
from tests.job.report.facts import HOSTILE
from tests.k8s.launcher import Said
from tests.k8s.results.kept import keep

SECRET = "a-secret-of-somebody"


def compare(folder: Path, *words: str) -> Said:
    """The command, without a cluster."""
    environment = os.environ | {"KUBECONFIG": str(folder / "none"), "MY_API_KEY": SECRET, "COLUMNS": "200"}
    command = [forks.commands(), "-m", "k8s.launch", "compare", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    return Said(done.returncode, done.stdout, done.stderr)


def read(folder: Path, *runs: str) -> list[Entry]:
    return [named(open_store(str(folder)), run) for run in runs]


def of(found: list[Table], title: str) -> Table:
    return next(one for one in found if one.title == title)


def row(found: Table, measure: str, of: str = "") -> list[str]:
    """The cells of the runs. A measure's name stands in its first row."""
    name = ""
    for cells in found.rows:
        name = cells[0] or name
        if name == measure and cells[1] == of:
            return cells[2:]
    raise AssertionError(f"{measure} {of}: {found.rows}")


# --- what differs ---


def test_only_what_differs_is_listed(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", lora={"r": 32}, training={"learning_rate": 1e-3})
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "b"))}
    assert found == {"lora.r": ["8", "32"], "training.learning_rate": ["0.0002", "0.001"]}


def test_runs_alike_say_so(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    assert of(tables(read(tmp_path, "a", "b")), "What differs").notes == [
        "Specs, pinned sources and versions are the same."
    ]


def test_a_field_that_a_release_did_not_know_has_its_default(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    lora = {"r": 8, "alpha": 32.0}
    keep(tmp_path, "old", spec_fields={"lora": lora})
    assert "lora.dropout" not in {one.path for one in differences(read(tmp_path, "a", "old"))}
    keep(tmp_path, "new", spec_fields={"lora": lora | {"of_tomorrow": 1}})
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "new"))}
    assert found["lora.of_tomorrow"] == ["", "1"]


def test_two_long_texts_that_begin_alike_do_not_look_alike(tmp_path: Path) -> None:
    for name, end in (("a", "."), ("b", "!")):
        keep(tmp_path, name, chat={"template": "{{ messages }}" + 100 * " " + end})
    (template,) = of(tables(read(tmp_path, "a", "b")), "What differs").rows
    assert template[0] == "chat.template" and template[1] != template[2]


def test_commits_and_versions_that_differ_are_told(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    key = "runs/b/manifest.json"
    store = open_store(str(tmp_path))
    text, _ = store.get(key) or (b"", "")
    store.put(key, text.replace(b"1f" * 20, b"2e" * 20).replace(b'"2.15.0"', b'"2.14.0"'))
    found = {one.path: one.values for one in differences(read(tmp_path, "a", "b"))}
    assert set(found) == {"sources.model", "versions.torch"} and found["versions.torch"] == ["2.15.0", "2.14.0"]


# --- what can be compared ---


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


# --- the picture ---


def test_the_picture_has_every_run_and_dashes_for_what_cannot_be_compared(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", rows="other rows")
    found = curves(read(tmp_path, "a", "b"))
    picture = svg(found)
    assert picture.count("<polyline") == 4 and picture.count("stroke-dasharray") == 1
    assert ">A</text>" in picture and ">B</text>" in picture
    drawn = "\n".join(letters(found))
    assert drawn.count("B") > 20 and "step" in drawn


def test_runs_without_losses_have_no_picture(tmp_path: Path) -> None:
    keep(tmp_path, "a", records={"train": None})
    found = curves(read(tmp_path, "a"))
    assert svg(found) == "" and letters(found) == []


def test_a_loss_that_is_not_a_number_is_left_out_and_a_long_run_stays_small(tmp_path: Path) -> None:
    losses = [{"step": n, "loss": None if n % 2 else 2.0, "learning_rate": 1e-4} for n in range(40_000)]
    train = StageRecord(stage="train", key="k", artifacts=[], metrics={"losses": losses, "steps": 40_000})
    keep(tmp_path, "a", records={"train": train})
    (curve,) = curves(read(tmp_path, "a"))
    assert len(curve.training) <= 401 and curve.training[-1] == (39_998, pytest.approx(2.0))


def test_letters_go_on_after_z() -> None:
    assert [letter(n) for n in (0, 25, 26, 27, 52)] == ["A", "Z", "AA", "AB", "BA"]


# --- the command ---


def test_it_needs_no_cluster_for_a_store(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", lora={"r": 32})
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path), "--html", str(tmp_path / "page.html"))
    assert said.code == 0, said.err
    for words in ("lora.r", "held-out loss after", "Q4_K_M", "Training loss"):
        assert words in said.out
    assert "Content-Security-Policy" in (tmp_path / "page.html").read_text()
    assert json.loads(compare(tmp_path, "a", "b", "--store", str(tmp_path), "-o", "json").out)["runs"]["B"] == "b"


def test_words_by_others_do_nothing(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b", name=f"\x1b]0;taken\x07{HOSTILE}", chat={"template": f"{{{{ messages }}}} {SECRET} \x1b[2J"})
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path), "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    data = compare(tmp_path, "a", "b", "--store", str(tmp_path), "-o", "json").out
    assert said.code == 0 and "\\x1b[2J" in said.out, said.err
    for text in (said.out, said.err, page, data):
        assert SECRET not in text and "\x1b" not in text and "\x07" not in text
    assert "<script" not in page and "<img" not in page


def test_a_run_that_has_not_finished_is_shown_with_its_spec(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    body = {"spec": {"model": {"id": "me/other"}, "dataset": {"id": "me/rows"}}, "sources": {}}
    open_store(str(tmp_path)).put("runs/b/spec.json", json.dumps(body).encode())
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path))
    assert said.code == 0 and "not finished" in said.out and "me/other" in said.out, said.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["a", "nobody"], 12, "there is no run nobody"),
        (["a"], 16, "a is a single run"),
        (["a", "a"], 16, "a is named twice"),
        (["a", "b", "--html", "/nowhere/page.html"], 16, "--html: cannot write /nowhere/page.html"),
        (["a", "b", "--store-pvc", "claim"], 16, "name two places"),
        (["a", "damaged"], 82, "runs/damaged/manifest.json is damaged"),
        (["a", "strange"], 82, "runs/strange/manifest.json is damaged"),
        (["a", "../b"], 82, "would leave its folder"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_told(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    keep(tmp_path, "a")
    keep(tmp_path, "b")
    open_store(str(tmp_path)).put("runs/damaged/manifest.json", b'{"run": 7}')
    strange = StageRecord(stage="train", key="k", artifacts=[], metrics={"losses": [{"step": "many"}]})
    keep(tmp_path, "strange", records={"train": strange})
    said = compare(tmp_path, *words, "--store", str(tmp_path))
    assert said.code == code and message in said.err, said.err


def test_figures_of_a_wrong_kind_are_a_damaged_manifest(tmp_path: Path) -> None:
    keep(tmp_path, "a")
    metrics = {"type": "q8_0", "perplexity": {"value": "\x1b[31m", "error": []}}
    keep(
        tmp_path, "b", records={"evaluate/q8_0": StageRecord(stage="evaluate", key="k", artifacts=[], metrics=metrics)}
    )
    said = compare(tmp_path, "a", "b", "--store", str(tmp_path))
    assert said.code == 82 and "runs/b/manifest.json is damaged" in said.err
