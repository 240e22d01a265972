"""The estimate of a run that began earlier, beside what its stages took."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from job.pipeline.estimate import Estimate, compared
from job.predict.timing import Seconds
from job.run.usage import Usage, usage_key
from job.store import open_store

KEY = "runs/r1/estimate.json"


@pytest.fixture
def state(tmp_path: Path) -> Any:
    store = open_store(str(tmp_path))
    usage = Usage(began=0, seconds=[0, 40], stages=["train", "train"], memory=[1, 1])
    store.put(usage_key("r1", 1), usage.model_dump_json().encode())
    return SimpleNamespace(run=SimpleNamespace(store=store, id="r1"))


def test_a_stage_has_its_estimate_and_what_it_took_but_the_one_that_publishes_has_not_ended(state: Any) -> None:
    kept = Estimate(seconds={"train": Seconds(30.0, 90.0), "publish": Seconds(5.0, 5.0)})
    state.run.store.put(KEY, kept.model_dump_json().encode())
    assert compared(state)["estimate"].metrics == {
        "train": {"likely": 30.0, "most": 90.0, "took": 40},
        "publish": {"likely": 5.0, "most": 5.0, "took": None},
    }


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"seconds": {"train": 3}}'])
def test_a_run_without_a_readable_estimate_is_published_without_one(state: Any, damaged: bytes) -> None:
    assert compared(state) == {}
    state.run.store.put(KEY, damaged)
    assert compared(state) == {}
