"""A whole run that may cost no more, and goes on when it may."""

from pathlib import Path
from typing import Any

import pytest

from job.budget import MOST, PRICE
from job.errors import CostExceeded
from job.report.documents import PAGE
from job.run.records import read_manifest
from job.store import open_store
from tests.job_process import run_job

pytestmark = pytest.mark.slow
ONE_A_SECOND = "3600"


def test_a_run_ends_when_it_has_cost_its_limit_and_goes_on_with_a_higher_one(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    given = small_spec | {"training": None, "export": {"types": ["q8_0"], "imatrix": "none"}}
    work, store = tmp_path / "work", open_store(small_spec["run"]["store"])
    ended = run_job(given, work, {PRICE: ONE_A_SECOND, MOST: "0.5"})
    assert ended.code == CostExceeded.code, ended.output
    assert "its limit is 0.5" in ended.events[-1]["message"] and "--max-cost" in ended.events[-1]["hint"]
    identity = ended.events[-1]["run"]
    assert read_manifest(store, identity) is None
    again = run_job(given, work, {PRICE: ONE_A_SECOND, MOST: "0.5"})
    assert again.code == CostExceeded.code and not again.stages_run(), "what the first attempt cost counts"
    whole = run_job(given, work, {PRICE: ONE_A_SECOND, MOST: "100000"})
    assert whole.code == 0, whole.output
    manifest = read_manifest(store, identity)
    assert manifest is not None
    known = manifest.stages["cost"].metrics
    assert known["attempts"] == 3 and known["cost"] == pytest.approx(known["seconds"], rel=0.01) and known["cost"] > 0.5
    found = store.get(f"runs/{identity}/{PAGE}")
    assert found is not None
    report = found[0].decode()
    assert f"Cost: {known['cost']:.2f}" in report and "in 3 attempts, at 3600 an hour" in report
    done = run_job(given, work, {PRICE: ONE_A_SECOND, MOST: "0.5"})
    assert done.code == 0 and "run.already_done" in done.output, "nothing is left that could cost"
