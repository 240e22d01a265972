"""Whole runs, as users start them: real training, real llama.cpp, real servers."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import Artifact, artifact
from job.llama_cpp import speed
from job.report import table
from job.run.records import read_manifest, verify_manifest
from job.store import open_store
from tests.job_process import AS_A_USER, run_job
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow

CANARY = "hf_" + "canaryCANARYcanaryCANARY1234"


def manifest_of(spec: dict[str, Any], run: str) -> Any:
    manifest = read_manifest(open_store(spec["run"]["store"]), run)
    assert manifest is not None
    return manifest


def assert_judged(manifest: Any) -> None:
    """The loss can be followed from the base to each type."""
    windows = ("context", "chunks")
    trace, first, last = (manifest.stages[name].metrics for name in ("train", "evaluate/f16", "evaluate/q8_0"))
    assert [line.type for line in table.lines([], manifest.stages)][:2] == ["base (nf4)", "tuned (nf4)"]
    trace = trace["trace"]
    assert [trace[key] for key in windows] == [first[key] for key in windows] == [last[key] for key in windows]
    assert trace["tuned"]["value"] == pytest.approx(first["perplexity"]["value"], rel=0.05)  # NF4 is not the original
    assert last["perplexity"]["value"] == pytest.approx(first["perplexity"]["value"], rel=0.05)
    assert 0 <= last["distance"]["kld"] < 0.1
    assert [one["threads"] for one in last["speeds"]] == speed.thread_counts([4, 8])
    assert len(first["answers"]) == len(last["answers"]) == len(manifest.stages["tokens"].metrics["prompts"]) == 1


def assert_tensorboard_opens(store: Any, manifest: Any, folder: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train = manifest.stages["train"]
    (events,) = [item for item in train.artifacts if item.path.startswith("logs/") and "tfevents" in item.path]
    store.get_file(f"stages/train/{train.key}/{events.path}", folder / "events.out.tfevents.1", events)
    found = EventAccumulator(str(folder)).Reload()
    losses = [(one.step, one.value) for one in found.Scalars("train/loss")]
    expected = [(one["step"], one["loss"]) for one in train.metrics["losses"]]
    assert losses == [(step, pytest.approx(loss, rel=1e-4)) for step, loss in expected]


def run_of(ended: Any) -> str:
    run: str = ended.events[-1]["run"]
    return run


def test_a_spec_becomes_verified_files_and_later_runs_reuse_the_work(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    first = run_job(small_spec, tmp_path / "work", real=True)
    assert first.code == 0, first.output
    assert {"fetch", "train", "export", "quantize", "evaluate", "publish"} <= first.stages_run()
    assert [one["message"] for one in first.named("library.warning")] == [] != first.named("library.noise")

    manifest = manifest_of(small_spec, run_of(first))
    verify_manifest(open_store(small_spec["run"]["store"]), manifest)
    published = Path(small_spec["publish"]["folder"])
    for file in manifest.files:
        assert artifact(published, file.name) == Artifact(path=file.name, sha256=file.sha256, size=file.size)
    names = {file.name for file in manifest.files}
    assert {
        "tiny-Q4_K_M.gguf",
        "tiny-Q8_0.gguf",
        "README.md",
        "Modelfile",
        "tiny-lora/adapter_model.safetensors",
    } <= names
    assert json.loads((published / "manifest.json").read_text())["run"] == manifest.run
    assert {"plot.png", "report/index.html", "tiny-imatrix.gguf"} <= names
    assert_judged(manifest)
    estimate = manifest.stages["estimate"].metrics
    assert estimate["train"]["most"] is None and estimate["quantize"]["most"] >= estimate["quantize"]["likely"] > 0
    assert estimate["train"]["took"] > 0
    assert "| tiny-Q8_0.gguf | Q8_0 |" in (published / "README.md").read_text()
    assert f"Run {manifest.run}" in (published / "report" / "index.html").read_text()
    assert_tensorboard_opens(open_store(small_spec["run"]["store"]), manifest, tmp_path / "logs")

    again = run_job(small_spec, tmp_path / "work")
    assert again.code == 0
    assert again.named("run.already_done")
    for ended in (first, again):
        (result,) = ended.named("run.result")
        assert result["take"]["name"] in names and result["places"] == [str(published)]
        assert f"report: {result['report']}\n" in ended.output and Path(result["report"]).is_file()
        assert "held-out loss" in ended.output and "┃ type" in ended.output
    command = ["bash", "-c", result["try"]["try it"]]
    tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert tried.returncode == 0, tried.stderr.decode()[-2000:]

    other = copy.deepcopy(small_spec)
    other["export"]["types"] = ["q5_k_m", "q8_0"]
    shutil.rmtree(tmp_path / "work")
    more = run_job(other, tmp_path / "work")
    assert more.code == 0, more.output
    assert "train" not in more.stages_run()
    (planned,) = more.named("quantize.planned")
    assert (planned["make"], planned["keep"]) == (["q5_k_m"], ["q8_0"]) and planned["made"]
    (kept,) = [one for one in more.named("stage.skipped") if one["stage"] == "train"]
    assert kept["made"]
    for stage in ("quantize", "evaluate"):
        assert [one["type"] for one in more.named("stage.start") if one["stage"] == stage] == ["q5_k_m"]

    events = [event for event in first.events if "seq" in event]
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert {event["stage"] for event in first.named("stage.end")} >= {"fetch", "train", "export", "quantize"}
    assert all("loss" in event and "eta_s" in event for event in first.named("train.log"))


def test_what_peft_warns_of_is_shown_once(small_spec: dict[str, Any], tmp_path: Path) -> None:
    small_spec["model"]["id"] = str(make_llama(tmp_path / "tied", tied=True))
    small_spec["lora"] = {"modules_to_save": ["lm_head"]}
    small_spec["training"]["max_steps"] = 2
    ended = run_job(small_spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    (warned,) = ended.named("library.warning")
    assert (warned["source"], warned["stage"], warned["level"]) == ("peft.tuners.tuners_utils", "train", "warning")
    assert "a tied layer is part of the adapter" in warned["message"]


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


def test_files_are_judged_on_a_text_of_the_users_and_made_anew_only_where_needed(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    from tests.tiny_models import training_text

    text = tmp_path / "text.txt"
    text.write_text(training_text()[:20_000])
    evaluation = small_spec["evaluation"] | {"text": {"id": str(text)}, "context": 64, "max_tokens": 640}
    spec = small_spec | {"training": None, "dataset": None, "evaluation": evaluation}
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    stages = manifest_of(spec, run_of(ended)).stages
    for kind in ("f16", "q4_k_m", "q8_0"):
        found = stages[f"evaluate/{kind}"].metrics["text"]
        assert (found["context"], found["chunks"]) == (64, 10) and 100 < found["perplexity"]["value"] < 10_000
    assert "on text" in (tmp_path / "published" / "README.md").read_text()

    text.write_text(training_text()[20_000:40_000])
    again = run_job(spec, tmp_path / "work")
    assert again.code == 0, again.output
    assert [one["type"] for one in again.named("stage.start") if one["stage"] == "evaluate"] == [
        "f16",
        "q4_k_m",
        "q8_0",
    ]
    assert "quantize" not in again.stages_run()


def test_a_tracker_that_is_not_installed_ends_a_run_before_anything_is_fetched(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    small_spec["training"]["report_to"] = ["tensorboard", "wandb"]
    ended = run_job(small_spec, tmp_path / "work")
    assert ended.code == 78
    assert "training.report_to: wandb is not installed here" in ended.output
    assert "fetch" not in ended.stages_run()


def test_a_gpu_that_was_asked_for_and_did_not_come_ends_a_run_before_anything_is_fetched(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    """As on k3s without a runtime class: the device plugin sets its variable, and nothing is mounted."""
    promised = {"FINETUNE_GPU": "required", "NVIDIA_VISIBLE_DEVICES": "GPU-1", "CUDA_VISIBLE_DEVICES": ""}
    ended = run_job(small_spec, tmp_path / "work", promised)
    assert ended.code == 78
    assert "has no GPU" in ended.output or "CUDA finds no GPU" in ended.output, "on a machine with one it is hidden"
    assert ended.stages_run() == {"preflight"}


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


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "quotes.jsonl"])
def test_a_file_that_may_not_be_read_is_named_and_not_tried_again(
    name: str, small_spec: dict[str, Any], tmp_path: Path
) -> None:
    model, quotes = tmp_path / "model", tmp_path / "quotes.jsonl"
    shutil.copytree(small_spec["model"]["id"], model)
    shutil.copy(small_spec["dataset"]["id"], quotes)
    small_spec["model"]["id"], small_spec["dataset"]["id"] = str(model), str(quotes)
    locked = next(tmp_path.rglob(name))
    locked.chmod(0)
    ended = run_job(small_spec, tmp_path / "work", under=AS_A_USER, real=True)
    assert ended.code == 77, ended.output
    assert f"{locked}: permission denied" in ended.output
