"""llama.cpp and transformers compute the same with a model, or it is not trained."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.agreement import stage as agreement
from job.errors import IntegrityViolated
from job.fetch.sources import Sources
from job.pipeline.agree import depends_on
from job.pipeline.known import Known
from job.run.records import StageRecord
from job.spec import JobSpec
from tests.export_reference import spec
from tests.families.configs import make
from tests.job_process import run_job
from tests.tiny_families import make_family, make_gemma_3_with_eyes
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow

NEAR = 0.02


def compared(model: Path, workdir: Path, dtype: str = "f16") -> agreement.Result:
    return agreement.run(spec(export={"dtype": dtype}), agreement.Inputs(model=model), workdir)


@pytest.mark.parametrize("family", ["Mistral", "Gemma", "Gemma 2", "Gemma 3", "Phi-3"])
def test_a_family_that_both_know_agrees(family: str, tmp_path: Path) -> None:
    found = compared(make_family(tmp_path / "model", family), tmp_path / "work")
    assert found.distance is not None and found.distance < NEAR and found.layers == 2


def test_the_first_layers_are_enough(tmp_path: Path) -> None:
    found = compared(make_llama(tmp_path / "model", layers=7, shards=3), tmp_path / "work")
    assert found.distance is not None and found.distance < NEAR and found.layers == 4


def test_the_language_model_of_one_with_eyes_is_compared(tmp_path: Path) -> None:
    found = compared(make_gemma_3_with_eyes(tmp_path / "model"), tmp_path / "work")
    assert found.distance is not None and found.distance < NEAR


def test_a_family_that_is_not_one_if_it_is_cut_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """llama.cpp knows a lite DeepSeek V2, which compresses no queries, by its 27 layers."""
    assert compared(make("DeepSeek V2 Lite", tmp_path / "model"), tmp_path / "work") == agreement.Result()
    assert "agree.not_compared" in capsys.readouterr().out


def look_back_16_tokens(model: Path) -> Path:
    """llama.cpp has no windows of attention in this architecture, and its converter does not say so."""
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sliding_window": 16}))
    return model


def test_what_the_converter_leaves_out_is_found_and_named(tmp_path: Path) -> None:
    model = look_back_16_tokens(make_family(tmp_path / "model", "Mistral"))
    found = compared(model, tmp_path / "work")
    with pytest.raises(IntegrityViolated, match="computes something else with") as caught:
        agreement.check(spec(), found)
    assert "sliding_window" in (caught.value.hint or "")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_that_holds_another_model_since_is_compared_again() -> None:
    def key_of(model: str, digest: str) -> dict[str, Any]:
        fetched = StageRecord(stage="fetch", key="k", artifacts=[], metrics={"model_digest": digest})
        made = JobSpec.model_validate({"model": {"id": model}, "dataset": {"id": "a/b"}})
        return depends_on(Known(made, Sources(model="as the run began"), {"fetch": fetched}))

    assert key_of("./model", "one") != key_of("./model", "two")
    assert key_of("a/model", "one") == key_of("a/model", "two"), "a commit on the Hub is known before its files are"


def test_a_run_ends_before_it_trains_such_a_model(small_spec: dict[str, Any], tmp_path: Path) -> None:
    small_spec["model"]["id"] = str(look_back_16_tokens(make_family(tmp_path / "model", "Mistral")))
    ended = run_job(small_spec, tmp_path / "work")
    assert ended.code == 82 and "train" not in ended.stages_run()
    small_spec["evaluation"]["gate"] = {"action": "warn"}
    small_spec["training"]["max_steps"] = 2
    ended = run_job(small_spec, tmp_path / "work")
    assert ended.code == 0 and len(ended.named("agree.differs")) == 1
