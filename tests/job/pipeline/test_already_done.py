"""A run id that is done is the answer to the spec that it was made from alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.run.records import Manifest, write_manifest
from job.spec import JobSpec
from job.store import open_store
from tests.job_process import run_job


@pytest.fixture
def done(small_spec: dict[str, Any]) -> dict[str, Any]:
    """A spec whose run is done, and without files."""
    small_spec["run"]["id"] = "mine"
    store = open_store(small_spec["run"]["store"])
    pinned = {"spec": JobSpec.model_validate(small_spec).shown(), "sources": {"model": "as it was"}}
    store.put("runs/mine/spec.json", json.dumps(pinned).encode())
    write_manifest(store, Manifest(run="mine", name="tiny", spec={}, sources={}, stages={}, files=[], places=[]))
    return small_spec


@pytest.mark.parametrize(
    ("section", "change"),
    [("training", {"learning_rate": 1e-5}), ("export", {"types": ["q4_0"]}), ("publish", {"folder": "./elsewhere"})],
)
def test_another_spec_of_a_run_that_is_done_is_refused(
    done: dict[str, Any], tmp_path: Path, section: str, change: dict[str, Any]
) -> None:
    done[section] |= change
    ended = run_job(done, tmp_path / "work")
    assert ended.code == 64 and "has another spec" in ended.output, ended.output


def test_what_has_changed_since_a_run_was_done_is_told(done: dict[str, Any], tmp_path: Path) -> None:
    (told,) = run_job(done, tmp_path / "work").named("run.inputs_changed")
    assert told["places"] == [done["model"]["id"]]
