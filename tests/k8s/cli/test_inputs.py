"""Files of this machine go along with a run: below the store on a real S3 server, uploaded once and verified."""

import base64
import hashlib
import json
import secrets
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from job.fetch.inputs import unpack
from job.store import open_store
from tests.cluster.fixtures import Cluster, eventually
from tests.k8s.launcher import Launcher
from tests.s3_proxy import Proxy
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster, s3: Bucket) -> Launcher:
    cluster.nodes.add("plain")
    return Launcher(cluster, cluster.namespace(restricted=True))


@pytest.fixture
def store(s3: Bucket) -> str:
    return f"s3://{s3.bucket}/prefix"


def rows(path: Path, count: int = 40, *, broken: str = "") -> str:
    """A data set's file, and its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"text": f"row {number} of some text"}) + "\n" for number in range(count)) + broken
    )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def launch(launcher: Launcher, path: Path | str, *more: str, code: int = 0) -> Any:
    said = launcher("launch", "--model", "/no/such/model", "--dataset", str(path), "--gpu", "none", "--detach", *more)
    assert said.code == code, said.err
    return said


def sent(launcher: Launcher) -> dict[str, Any]:
    """The spec that the newest ConfigMap holds."""
    maps = launcher.cluster.core.list_namespaced_config_map(launcher.namespace).items
    found = [one for one in maps if one.data and "spec.json" in one.data]
    newest = max(found, key=lambda one: one.metadata.creation_timestamp)
    return dict(json.loads(newest.data["spec.json"]))


def test_a_file_is_put_below_the_store_by_its_content_and_the_spec_names_it_there(
    launcher: Launcher, store: str, s3: Bucket, tmp_path: Path
) -> None:
    sha256 = rows(tmp_path / "my rows.jsonl")
    said = launch(launcher, tmp_path / "my rows.jsonl", "--set", f"run.store={store}")
    place = f"{store}/inputs/{sha256}/my-rows.jsonl"
    assert sent(launcher)["dataset"]["id"] == place and f"-> {place}" in said.err
    assert "40 rows" in said.err
    assert s3.file(f"inputs/{sha256}/my-rows.jsonl").read_bytes() == (tmp_path / "my rows.jsonl").read_bytes()


def test_the_same_content_is_the_same_run_wherever_it_lies_and_is_uploaded_once(
    launcher: Launcher, store: str, s3_proxy: Proxy, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        rows(tmp_path / folder / "rows.jsonl")
    launch(launcher, tmp_path / "one" / "rows.jsonl", "--set", f"run.store={store}")
    assert s3_proxy.asked("PUT .*rows.jsonl")
    s3_proxy.requests.clear()
    again = launch(launcher, tmp_path / "two" / "rows.jsonl", "--set", f"run.store={store}")
    assert "exists already" in again.err and len(launcher.jobs()) == 1
    launch(launcher, tmp_path / "two" / "rows.jsonl", "--set", f"run.store={store}", "--set", "run.seed=7")
    assert len(launcher.jobs()) == 2 and not s3_proxy.asked("PUT .*rows.jsonl")
    rows(tmp_path / "two" / "rows.jsonl", 41)
    launch(launcher, tmp_path / "two" / "rows.jsonl", "--set", f"run.store={store}")
    assert len(launcher.jobs()) == 3


def test_an_upload_that_is_killed_leaves_nothing_to_be_seen_and_starts_again(
    launcher: Launcher, store: str, s3: Bucket, s3_proxy: Proxy, tmp_path: Path
) -> None:
    sha256 = rows(tmp_path / "rows.jsonl", 1_200_000)  # three parts
    options = ["--dataset", str(tmp_path / "rows.jsonl"), "--set", f"run.store={store}", "--gpu", "none", "--detach"]
    s3_proxy.slow = lambda request: 3 if "partNumber=2" in request[1] else 0
    with launcher.started("launch", "--model", "/no/such/model", *options) as process:
        eventually(lambda: s3_proxy.asked("PUT .*partNumber=1"), "the first part", timeout_s=120)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert open_store(store).head(f"inputs/{sha256}/rows.jsonl") is None and launcher.jobs() == []
    s3_proxy.slow = lambda request: 0
    launch(launcher, tmp_path / "rows.jsonl", "--set", f"run.store={store}")
    assert s3.file(f"inputs/{sha256}/rows.jsonl").read_bytes() == (tmp_path / "rows.jsonl").read_bytes()


def test_dry_run_says_what_would_be_uploaded_and_uploads_nothing(
    launcher: Launcher, store: str, s3_proxy: Proxy, tmp_path: Path
) -> None:
    sha256 = rows(tmp_path / "rows.jsonl")
    said = launch(launcher, tmp_path / "rows.jsonl", "--set", f"run.store={store}", "--dry-run")
    assert f"would be uploaded to the store: {tmp_path}/rows.jsonl" in said.err
    assert f"{store}/inputs/{sha256}/rows.jsonl" in said.out and not s3_proxy.requests


def test_broken_rows_are_told_before_anything_is_sent(
    launcher: Launcher, store: str, s3_proxy: Proxy, tmp_path: Path
) -> None:
    rows(tmp_path / "rows.jsonl", broken="{nothing\n" * 3)
    said = launch(launcher, tmp_path / "rows.jsonl", "--set", f"run.store={store}", code=65)
    assert "3 of 43 rows are broken" in said.err
    assert not s3_proxy.requests and launcher.jobs() == []


def test_runs_of_a_sweep_share_what_is_uploaded(
    launcher: Launcher, store: str, s3_proxy: Proxy, tmp_path: Path
) -> None:
    rows(tmp_path / "rows.jsonl")
    launch(launcher, tmp_path / "rows.jsonl", "--set", f"run.store={store}", "--sweep", "lora.r=4,8")
    assert len(s3_proxy.asked("PUT .*rows.jsonl")) == 1


def test_a_model_folder_goes_along_with_what_a_run_reads_of_it(
    launcher: Launcher, store: str, s3: Bucket, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "my-model"
    model.mkdir()
    for file in tiny_model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    (model / "optimizer.bin").write_bytes(b"of nobody's business")
    rows(tmp_path / "rows.jsonl")
    launch(launcher, tmp_path / "rows.jsonl", "--set", f"run.store={store}", "--model", str(model))
    place = sent(launcher)["model"]["id"]
    assert place.startswith(f"{store}/inputs/") and place.endswith("/my-model")
    found = set(open_store(place).list())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= found and "optimizer.bin" not in found
    listed = open_store(place.rpartition("/")[0]).get("my-model.sha256")
    assert listed and hashlib.sha256(listed[0]).hexdigest() == place.split("/")[-2]


def test_nothing_is_sent_of_a_folder_with_a_secret_a_link_out_of_it_or_a_pipe(
    launcher: Launcher, store: str, s3_proxy: Proxy, tmp_path: Path
) -> None:
    import os

    for name, make in (
        ("secret", lambda folder: (folder / ".env").write_text("KEY=1")),
        ("link", lambda folder: (folder / "train.jsonl").symlink_to("/etc/passwd")),
        ("pipe", lambda folder: os.mkfifo(folder / "pipe")),
    ):
        rows(tmp_path / name / "rows.jsonl")
        make(tmp_path / name)
        launch(launcher, tmp_path / name, "--set", f"run.store={store}", code=82)
    assert not s3_proxy.requests and launcher.jobs() == []


def test_a_relative_path_that_is_nowhere_is_refused(launcher: Launcher, store: str) -> None:
    said = launch(launcher, "./none.jsonl", "--set", f"run.store={store}", code=66)
    assert "there is no ./none.jsonl here" in said.err


def test_an_endpoint_that_only_the_pod_has_is_refused(
    launcher: Launcher, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    rows(tmp_path / "rows.jsonl")
    options = ("--set", f"run.store={store}", "--env", "AWS_ENDPOINT_URL=http://minio:9000")
    said = launch(launcher, tmp_path / "rows.jsonl", *options, code=16)
    assert "http://minio:9000" in said.err and "Set AWS_ENDPOINT_URL here too" in said.err


def test_small_rows_without_a_store_are_in_the_config_map_and_the_run_reads_them_from_there(
    launcher: Launcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows(tmp_path / "rows.jsonl", 5000)
    launch(launcher, tmp_path / "rows.jsonl")
    (found,) = [
        one for one in launcher.cluster.core.list_namespaced_config_map(launcher.namespace).items if one.binary_data
    ]
    (tmp_path / "inputs.tar.gz").write_bytes(base64.b64decode(found.binary_data["inputs.tar.gz"]))
    monkeypatch.setenv("FINETUNE_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("FINETUNE_INPUTS", str(tmp_path / "inputs.tar.gz"))
    unpack()
    place = Path(sent(launcher)["dataset"]["id"])
    assert (tmp_path / place.relative_to("/")).read_bytes() == (tmp_path / "rows.jsonl").read_bytes()


def test_what_is_too_large_for_a_config_map_needs_a_store(launcher: Launcher, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": secrets.token_hex(200)}) + "\n" for _ in range(3000))
    )
    said = launch(launcher, tmp_path / "rows.jsonl", code=16)
    assert "too large for that without a store" in said.err and "--set run.store=s3://BUCKET/runs" in said.err
    assert launcher.jobs() == []
