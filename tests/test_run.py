"""Whole runs, as users start them: real training, real llama.cpp, real servers."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import Artifact, verify
from job.manifest import read_manifest, verify_manifest
from job.store import open_store
from tests.job_process import run_job

pytestmark = pytest.mark.slow

CANARY = "hf_" + "canaryCANARYcanaryCANARY1234"


def manifest_of(spec: dict[str, Any], run: str) -> Any:
    manifest = read_manifest(open_store(spec["run"]["store"]), run)
    assert manifest is not None
    return manifest


def run_of(ended: Any) -> str:
    run: str = ended.events[-1]["run"]
    return run


def test_a_spec_becomes_verified_files_and_later_runs_reuse_the_work(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    first = run_job(small_spec, tmp_path / "work")
    assert first.code == 0, first.output
    assert {"fetch", "train", "export", "quantize", "evaluate", "publish"} <= first.stages_run()

    manifest = manifest_of(small_spec, run_of(first))
    verify_manifest(open_store(small_spec["run"]["store"]), manifest)
    published = Path(small_spec["publish"]["folder"])
    for file in manifest.files:
        verify(published, Artifact(path=file.name, sha256=file.sha256, size=file.size))
    names = {file.name for file in manifest.files}
    assert {
        "tiny-Q4_K_M.gguf",
        "tiny-Q8_0.gguf",
        "README.md",
        "Modelfile",
        "tiny-lora/adapter_model.safetensors",
    } <= names
    assert json.loads((published / "manifest.json").read_text())["run"] == manifest.run
    judged = manifest.stages["evaluate/q8_0"].metrics
    assert 0 <= judged["distance"]["kld"] < 0.1 and [one["threads"] for one in judged["speeds"]] == [4, 8]
    assert "| `tiny-Q8_0.gguf` | Q8_0 |" in (published / "README.md").read_text()

    again = run_job(small_spec, tmp_path / "work")
    assert again.code == 0
    assert again.named("run.already_done")

    other = copy.deepcopy(small_spec)
    other["export"]["types"] = ["q5_k_m", "q8_0"]
    shutil.rmtree(tmp_path / "work")
    more = run_job(other, tmp_path / "work")
    assert more.code == 0, more.output
    assert "train" not in more.stages_run()
    for stage in ("quantize", "evaluate"):
        assert [one["type"] for one in more.named("stage.start") if one["stage"] == stage] == ["q5_k_m"]

    events = [event for event in first.events if "seq" in event]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert {event["stage"] for event in first.named("stage.end")} >= {"fetch", "train", "export", "quantize"}
    assert all("loss" in event and "eta_s" in event for event in first.named("train.log"))


def test_a_run_with_s3_and_the_hub_publishes_everywhere_and_shows_no_secret(
    small_spec: dict[str, Any], tmp_path: Path, s3: Any, hub: Any
) -> None:
    token = hub.token(CANARY)
    spec = copy.deepcopy(small_spec)
    spec["training"]["max_steps"] = 2
    spec["run"]["store"] = f"{s3.url}/runs"
    spec["publish"] |= {"s3": f"{s3.url}/published", "hub": {"repo_id": "me/tiny-gguf"}}
    ended = run_job(spec, tmp_path / "work", {"HF_TOKEN": token})
    assert ended.code == 0, ended.output
    manifest = manifest_of(spec, run_of(ended))
    assert manifest.hub_commit
    verify_manifest(open_store(spec["run"]["store"]), manifest)

    secret = s3.client._request_signer._credentials.secret_key
    everything = [ended.output.encode()]
    for folder in (tmp_path, s3.root):
        everything += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for text in everything:
        assert token.encode() not in text
        assert secret.encode() not in text


def test_an_existing_model_is_quantized_without_training(small_spec: dict[str, Any], tmp_path: Path) -> None:
    spec = small_spec | {"training": None, "dataset": None}
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    assert "train" not in ended.stages_run()
    assert (tmp_path / "published" / "tiny-Q4_K_M.gguf").is_file()


def test_a_wrong_spec_ends_before_anything_is_touched(small_spec: dict[str, Any], tmp_path: Path) -> None:
    small_spec["export"]["types"] = ["q4_l"]
    last_words = tmp_path / "termination-log"
    last_words.touch()
    ended = run_job(small_spec, tmp_path / "work", {"FINETUNE_TERMINATION_LOG": str(last_words)})
    assert ended.code == 64
    assert "export.types" in last_words.read_text()
    assert "q4_k_m" in last_words.read_text()
    assert not (tmp_path / "store").exists()
