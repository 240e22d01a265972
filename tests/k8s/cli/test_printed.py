"""What `--dry-run` prints: objects that kubectl takes, what a reader of them should know, and notes on stderr."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import forks
from tests.job.predict.sizes import SIZES

MODEL = ("--model", "/no/such/model")
RUN = ("--dataset", "/rows.jsonl", "--gpu", "t4", "--platform", "gke", "--dry-run")


def launched(folder: Path, *options: str, model: tuple[str, ...] = MODEL) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"KUBECONFIG": str(folder / "none"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    environment["FINETUNE_IMAGE"] = "registry.example/finetune-run:1"
    command = [forks.commands(), "-m", "k8s.launch", "launch", *model, *RUN, *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)


def test_the_printed_objects_say_how_to_delete_both_and_why_three_volumes_share_a_limit(tmp_path: Path) -> None:
    said = launched(tmp_path, "--namespace", "team").stdout
    found = re.search(r"^#   kubectl delete job,configmap -n team -l (\S+)=(\S+)$", said, flags=re.M)
    assert found and "work, cache and tmp" in said.split("apiVersion")[0]
    objects = [one for one in yaml.safe_load_all(said) if one]
    assert [one["kind"] for one in objects] == ["ConfigMap", "Job"]
    assert all(one["metadata"]["labels"][found[1]] == found[2] for one in objects)


@pytest.mark.usefixtures("nothing_is_rehearsed")
def test_the_time_is_on_stderr_likely_and_at_most(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SIZES["7B"][0]))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"text": "a short row of text, {n}"}}\n' for n in range(100)))
    said = launched(tmp_path, "--model", str(tmp_path), "--dataset", str(tmp_path / "rows.jsonl"))
    assert re.search(r"time: likely [\d.]+ min, at most [\d.]+ min; ended after 7.0 days", said.stderr)
    unknown = launched(tmp_path)
    assert "time: likely unknown, at most unknown; ended after 7.0 days" in unknown.stderr


def test_what_a_run_may_cost_travels_in_its_job(tmp_path: Path) -> None:
    said = launched(tmp_path, "--price", "0.35", "--max-cost", "4")
    job = next(one for one in yaml.safe_load_all(said.stdout) if one and one["kind"] == "Job")
    env = {one["name"]: one.get("value") for one in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (env["FINETUNE_PRICE_PER_HOUR"], env["FINETUNE_MAX_COST"]) == ("0.35", "4")
    assert "it ends when it has cost 4" in said.stderr


def test_a_sweep_over_models_needs_no_other_and_is_named_after_none(tmp_path: Path) -> None:
    said = launched(tmp_path, "--sweep", "model.id=/no/one,/no/other", model=())
    job = next(one for one in yaml.safe_load_all(said.stdout) if one and one["kind"] == "Job")
    assert job["metadata"]["name"].startswith("sweep-")
    assert job["metadata"]["annotations"]["finetune-run/model"] == "/no/one, /no/other"
