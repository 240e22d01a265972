"""A model with weights beyond float16's range becomes a bfloat16 file, or its run ends before it is trained."""

from pathlib import Path
from typing import Any

import pytest

from job.run.records import read_manifest
from job.store import open_store
from tests.job_process import run_job
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture
def large(small_spec: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A spec for a model with one huge weight, of a token that no row has."""

    def prepare(model: Any) -> None:
        model.model.embed_tokens.weight.data[1500, 3] = 1e5

    small_spec["model"]["id"] = str(make_llama(tmp_path / "large", prepare=prepare))
    small_spec["training"]["max_steps"] = 2
    return small_spec


def test_its_files_are_made_from_a_bf16_file_and_the_run_says_so(large: dict[str, Any], tmp_path: Path) -> None:
    ended = run_job(large, tmp_path / "work")
    assert ended.code == 0, ended.output
    (said,) = ended.named("fetch.beyond_float16")
    assert "model.embed_tokens.weight" in said["what"] and said["level"] == "warning"
    manifest = read_manifest(open_store(large["run"]["store"]), ended.events[-1]["run"])
    assert manifest and "evaluate/bf16" in manifest.stages


@pytest.mark.parametrize("export", [{"dtype": "f16"}, {"types": ["f16"]}])
def test_float16_that_the_spec_asks_for_is_refused_before_training(
    large: dict[str, Any], tmp_path: Path, export: dict[str, Any]
) -> None:
    large["export"] |= export
    ended = run_job(large, tmp_path / "work")
    assert ended.code == 64 and "float16 ends at 65504" in ended.output
    assert not ended.named("train.loading_model")
