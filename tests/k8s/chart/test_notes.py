"""What Helm prints of a release, and what the Job says of its runs: of each run's own spec, in a sweep too."""

import json
from typing import Any

import pytest

from k8s.yaml_text import text_of
from tests.k8s.chart.charts import CHART, IMAGE, LEAST, helm, of_kind, refused, template, with_spec

pytestmark = pytest.mark.slow


def notes(values: dict[str, Any]) -> str:
    said = helm("install", "mine", str(CHART), "--dry-run=client", "-f", "-", stdin=text_of([values]))
    return said.partition("NOTES:")[2]


@pytest.mark.parametrize(
    ("types", "named"),
    [(["q8_0", "f16"], "*-Q8_0*.gguf"), (["q4_k"], "*-Q4_K*.gguf"), ([{"fit": "6G"}], "models/*.gguf")],
)
def test_the_notes_name_a_file_that_there_will_be(types: list[Any], named: str) -> None:
    assert named in notes(with_spec(export={"types": types}))
    swept = LEAST | {"sweep": [{"export.types": types}, {"export.types": ["q2_k"]}]}
    assert named in notes(swept)


def test_a_sweeps_job_names_the_models_of_its_runs_and_no_other() -> None:
    values = {"image": IMAGE, "spec": {"dataset": {"id": "c/d"}}, "sweep": [{"model.id": "a/b"}, {"model.id": "e/f"}]}
    for spec in (values["spec"], {"model": {"id": "none/has-it"}, "dataset": {"id": "c/d"}}):
        objects = template(values | {"spec": spec})
        assert of_kind(objects, "Job")["metadata"]["annotations"]["finetune-run/model"] == "a/b, e/f"
    assert "spec.model.id: which model?" in refused(values | {"sweep": [{"model.id": "a/b"}, {"lora.r": 8}]})


@pytest.mark.parametrize("path", ["run.id", "run.store"])
def test_what_a_sweeps_runs_have_in_common_is_not_swept(path: str) -> None:
    assert f"sweep: {path} is the same for all runs" in refused(LEAST | {"sweep": [{path: "s3://a/b"}]})


def test_an_id_that_is_too_long_with_a_runs_number_is_refused() -> None:
    values = with_spec(run={"id": "a" * 58}) | {"sweep": [{"lora.r": 8}]}
    assert "has 58 characters" in refused(values)


def test_the_test_mounts_a_claim_from_which_a_sweeps_first_run_reads() -> None:
    values = LEAST | {"store": {"existingClaim": "runs"}, "sweep": [{"dataset.id": "/store/rows.jsonl"}]}
    volumes = {one["name"]: one for one in of_kind(template(values), "Pod")["spec"]["volumes"]}
    assert volumes["store"]["persistentVolumeClaim"] == {"claimName": "runs"}, json.dumps(volumes)
