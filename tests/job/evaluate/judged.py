"""Records of a run with one file, as the gate reads them."""

from typing import Any

from job.artifacts import Artifact
from job.run.records import StageRecord


def records(
    before: float = 2.0, after: float = 1.5, bits: float = 8.5, trace: Any = None, **evaluated: Any
) -> dict[str, StageRecord]:
    def record(stage: str, **metrics: Any) -> StageRecord:
        return StageRecord(stage=stage, key="k", artifacts=list[Artifact](), metrics=metrics)

    return {
        "train": record("train", loss_before=before, loss_after=after, trace=trace),
        "quantize/q8_0": record("quantize", bits_per_weight=bits),
        "evaluate/q8_0": record("evaluate", type="q8_0", **evaluated),
    }
