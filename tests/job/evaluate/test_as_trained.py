"""The unquantized file is the model that was trained: its perplexity on the same windows says so."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from job.errors import QualityRejected
from job.evaluate import gate
from job.run.records import StageRecord
from job.spec import JobSpec

WINDOWS = {"context": 512, "chunks": 30}


def records(tuned: float, file: float, **windows: int) -> dict[str, StageRecord]:
    def record(stage: str, metrics: dict[str, Any]) -> StageRecord:
        return StageRecord(stage=stage, key="k", artifacts=[], metrics=metrics)

    trace = WINDOWS | {"tuned": {"value": tuned, "error": 0.01 * tuned}, "ratio_error": 0.0}
    judged = WINDOWS | windows | {"type": "f16", "perplexity": {"value": file, "error": 0.01 * file}}
    return {"train": record("train", {"trace": trace}), "evaluate/f16": record("evaluate", judged)}


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, **sections})


@pytest.mark.parametrize("sections", [{"load": {"bits": 16}}, {"export": {"merge_base": "quantized"}}])
def test_a_file_of_the_same_weights_that_is_worse_is_not_published(sections: dict[str, Any]) -> None:
    gate.check(spec(**sections), records(10.0, 10.2))
    with pytest.raises(QualityRejected, match=r"1\.1 .* that of the model as trained .* both have the same weights"):
        gate.check(spec(**sections), records(10.0, 11.0))


def test_after_training_on_rounded_weights_it_is_a_warning() -> None:
    with capture_logs() as said:
        gate.check(spec(), records(10.0, 11.0))
    assert [one["event"] for one in said] == ["gate.not_as_trained"]
    with capture_logs() as said:
        gate.check(spec(), records(10.0, 9.0))
        gate.check(spec(), records(10.0, 11.0, chunks=29))  # other windows cannot be compared
    assert said == []


def test_what_fails_stands_a_line_each() -> None:
    with pytest.raises(QualityRejected) as caught:
        gate.check(spec(load={"bits": 16}), records(10.0, 11.0))
    assert len(caught.value.message.splitlines()) == 2
