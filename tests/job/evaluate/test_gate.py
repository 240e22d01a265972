"""The gate: what got worse by more than its error is named and refused."""

from typing import Any

import pytest

from job.errors import QualityRejected
from job.evaluate import gate
from job.run.records import StageRecord
from job.spec import JobSpec
from tests.job.evaluate.judged import records


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}, **sections})


@pytest.mark.parametrize(("least", "refused"), [(None, False), (0.5, False), (0.9, True)])
def test_a_model_whose_answers_seldom_end_does_not_pass_a_gate_that_demands_it(
    least: float | None, refused: bool
) -> None:
    metrics = {"type": "f16", "ends": {"first": 6, "answers": 10}}
    found = {"evaluate/f16": StageRecord(stage="evaluate", key="k", artifacts=[], metrics=metrics)}
    asked = spec(evaluation={"gate": {"min_ends": least}})
    if refused:
        with pytest.raises(QualityRejected, match=r"after 6 of 10 held-out answers .* 60%; 90% are demanded"):
            gate.check(asked, found)
    else:
        gate.check(asked, found)


def test_a_gate_of_ends_without_any_measured_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gate.check(spec(evaluation={"gate": {"min_ends": 0.9}}), {})
    assert "min_ends: no held-out answer's end was measured" in capsys.readouterr().out


def distance(ratio: float = 1.0, ratio_error: float = 0.01, kld: float = 0.01, kld_error: float = 0.001) -> Any:
    perplexity = {"value": 4.0, "error": 0.1}
    return {
        "perplexity": perplexity, "same_top": 0.9,
        "ratio": ratio, "ratio_error": ratio_error, "kld": kld, "kld_error": kld_error,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (records(distance=distance(ratio=1.5)), "1.5 ± 0.01; 1.3 is allowed"),
        (records(distance=distance(kld=0.9)), "KL divergence"),
        (records(distance=distance(ratio=float("nan"))), "nan"),
        (records(bits=2.5, distance=distance(ratio=200.0)), "100 is allowed"),
        (records(before=1.0, after=1.5), "1.65 times the base model's"),
        (records(after=float("nan")), "the tuned model"),
        (records(before=1.0, after=1.2, trace={"ratio_error": 0.01}), "1.22 ± 0.012 times"),
    ],
)
def test_what_got_worse_is_named_with_its_number_and_the_limit(found: dict[str, StageRecord], said: str) -> None:
    with pytest.raises(QualityRejected, match="nothing is published") as caught:
        gate.check(spec(), found)
    assert said in caught.value.message and caught.value.code == 81
    gate.check(spec(evaluation={"gate": {"action": "warn"}}), found)


@pytest.mark.parametrize(
    "found",
    [
        records(distance=distance()),
        records(distance=distance(ratio=1.35, ratio_error=0.05)),
        records(bits=2.5, distance=distance(ratio=20.0, kld=3.0)),
        records(before=1.0, after=1.2, trace={"ratio_error": 0.1}),
        {},
    ],
)
def test_what_is_sound_or_within_the_error_passes(found: dict[str, StageRecord]) -> None:
    gate.check(spec(), found)
