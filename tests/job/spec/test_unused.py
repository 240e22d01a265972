"""Fields that a spec sets and nothing reads: told, in the plan and in the log."""

from pathlib import Path
from typing import Any

import pytest

from job.errors import EnvironmentUnfit
from job.plan import describe
from job.spec import JobSpec
from job.spec.unused import unused
from tests.job_process import run_job

BASE: dict[str, Any] = {"model": {"id": "a/b"}, "dataset": {"id": "a/c"}}


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({}, []),
        ({"recipe": "modern"}, []),
        ({"load": {"quant_type": "fp4", "double_quant": True}}, []),
        ({"load": {"bits": 8, "frozen_dtype": "compute"}}, []),
        ({"load": {"bits": 8, "quant_type": "fp4"}}, ["load.quant_type"]),
        ({"load": {"bits": 16, "frozen_dtype": "compute"}}, ["load.frozen_dtype"]),
        ({"training": None, "lora": {"r": 4}, "load": {"bits": 8}}, ["lora.r", "load.bits"]),
        ({"training": None, "load": {"quant_type": "fp4"}, "export": {"merge_base": "quantized"}}, []),
    ],
    ids=str,
)
def test_fields_that_are_set_and_not_read_are_named(sections: dict[str, Any], named: list[str]) -> None:
    assert [sentence.split()[0] for sentence in unused(JobSpec.model_validate(BASE | sections))] == named


def test_the_plan_and_a_run_name_them(small_spec: dict[str, Any], tmp_path: Path) -> None:
    small_spec["load"] = {"bits": 32, "double_quant": True}
    what = "load.double_quant is not used: it is for 4 bits, and load.bits is 32"
    assert f"# {what}\n" in describe(JobSpec.model_validate(small_spec))
    ended = run_job(small_spec, tmp_path / "work", {"FINETUNE_GPU": "required"})
    assert ended.code == EnvironmentUnfit.code
    assert [one["what"] for one in ended.named("spec.unused")] == [what]
