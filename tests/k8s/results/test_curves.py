"""The picture of the runs' losses."""

from pathlib import Path

import pytest

from job.run.records import StageRecord
from k8s.results.curves import curves, letters, svg
from k8s.results.tables import letter
from tests.k8s.results.compared import read
from tests.k8s.results.kept import keep


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
