"""What a run has made comes back from its store on a real S3 server: files, logs, and the best of a sweep."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.fixtures import Cluster
from tests.k8s.finished import CONTENT, finish
from tests.k8s.launcher import BARE, Launcher
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.fixture
def launcher(cluster: Cluster, s3: Bucket) -> Launcher:
    cluster.nodes.add("plain")
    return Launcher(cluster, cluster.namespace())


@pytest.fixture
def store(s3: Bucket) -> str:
    return f"s3://{s3.bucket}/runs"


def submitted(launcher: Launcher, store: str, *more: str) -> str:
    said = launcher("launch", *BARE, "--gpu", "none", "--detach", "--set", f"run.store={store}", *more, "-o", "json")
    assert said.code == 0, said.err
    return str(said.json()["name"])


def test_results_brings_every_file_and_verifies_it(launcher: Launcher, store: str, tmp_path: Path) -> None:
    name = submitted(launcher, store)
    assert launcher("results", name).code == 12  # not finished yet
    finish(store, name, tmp_path / "made")
    said = launcher("results", name, "--into", str(tmp_path / "models"))
    assert said.code == 0, said.err
    assert (tmp_path / "models" / "Tuned-Q4_K_M.gguf").read_bytes() == CONTENT
    assert "2 files in" in said.err and "published to s3://b/out" in said.err
    assert f"python -m job chat {tmp_path}/models/Tuned-Q4_K_M.gguf" in said.err
    only = launcher("results", name, "--into", str(tmp_path / "one"), "--type", "Q4_K_M")
    assert only.code == 0 and [path.name for path in (tmp_path / "one").iterdir()] == ["Tuned-Q4_K_M.gguf"]
    none = launcher("results", name, "--type", "q2_k")
    assert none.code == 12 and "Existing types: document, q4_k_m" in none.err


def test_a_file_that_is_there_and_whole_is_not_fetched_again_and_a_cut_one_is(
    launcher: Launcher, store: str, tmp_path: Path
) -> None:
    name = submitted(launcher, store)
    finish(store, name, tmp_path / "made")
    folder = tmp_path / "models"
    launcher("results", name, "--into", str(folder))
    before = (folder / "README.md").stat().st_mtime_ns
    (folder / "Tuned-Q4_K_M.gguf").write_bytes(CONTENT[:1000])
    assert launcher("results", name, "--into", str(folder)).code == 0
    assert (folder / "README.md").stat().st_mtime_ns == before
    assert (folder / "Tuned-Q4_K_M.gguf").read_bytes() == CONTENT


def test_a_file_that_is_not_what_its_hash_says_is_refused(
    launcher: Launcher, store: str, s3: Bucket, tmp_path: Path
) -> None:
    name = submitted(launcher, store)
    finish(store, name, tmp_path / "made")
    key = f"runs/stages/quantize/{name}/Tuned-Q4_K_M.gguf"
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=CONTENT[::-1])
    said = launcher("results", name, "--into", str(tmp_path / "models"))
    assert said.code == 82, said.err
    assert not (tmp_path / "models" / "Tuned-Q4_K_M.gguf").exists()


def test_wrong_credentials_are_told_and_not_shown(
    launcher: Launcher, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = submitted(launcher, store)
    finish(store, name, tmp_path / "made")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-key-wrong-key")
    said = launcher("results", name)
    assert said.code == 77 and "Correct the keys" in said.err and "wrong-key" not in said.err


def test_the_log_of_a_run_without_pods_comes_from_its_store(launcher: Launcher, store: str, s3: Bucket) -> None:
    name = submitted(launcher, store)
    lines = [{"event": "train.log", "attempt": 1, "seq": n, "step": n, "level": "info"} for n in (1, 2)]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    s3.client.put_object(Bucket=s3.bucket, Key=f"runs/runs/{name}/events/0001-00000.jsonl", Body=body)
    said = launcher("logs", name)
    assert [json.loads(line)["seq"] for line in said.out.splitlines()] == [1, 2]


SWEEP = ["--sweep", "lora.r=4,8,16,32"]


def of_sweep_on_other_rows(launcher: Launcher, store: str, tmp_path: Path) -> str:
    name = submitted(launcher, store, *SWEEP)
    for number, rows in enumerate(("rows", "rows", "other rows")):
        finish(store, f"{name}-{number}", tmp_path / "made", 1.5 - number / 4, rows=rows)
    return name


def of_sweep(launcher: Launcher, store: str, tmp_path: Path, losses: dict[int, float | None]) -> str:
    name = submitted(launcher, store, *SWEEP)
    for number, loss in losses.items():
        finish(store, f"{name}-{number}", tmp_path / "made", loss, CONTENT + bytes([number]))
    return name


def test_status_compares_the_runs_of_a_sweep_and_names_the_best(launcher: Launcher, store: str, tmp_path: Path) -> None:
    """One is still at work, one has no held-out rows."""
    name = of_sweep(launcher, store, tmp_path, {0: 1.75, 1: 1.5, 3: None})
    rows = [line.split() for line in launcher("status", name).out.splitlines() if "lora.r=" in line]
    assert [row[:2] for row in rows] == [["0", "lora.r=4"], ["1", "lora.r=8"], ["2", "lora.r=16"], ["3", "lora.r=32"]]
    assert rows[0][2:] == ["1.7500", "Q4_K_M,", "1", "MB"] and rows[1][2:4] == ["1.5000", "best"]
    assert rows[2][2:] == []


def test_results_of_a_sweep_are_those_of_the_best_or_of_the_index_that_is_named(
    launcher: Launcher, store: str, tmp_path: Path
) -> None:
    name = of_sweep(launcher, store, tmp_path, {0: 1.75, 1: 1.5})
    best = launcher("results", name, "--into", str(tmp_path / "best"))
    assert best.code == 0 and "index 1 is the best: held-out loss 1.5000 (lora.r=8)" in best.err
    assert (tmp_path / "best" / "README.md").read_bytes() == CONTENT + b"\1"
    other = launcher("results", name, "--index", "0", "--into", str(tmp_path / "other"))
    assert other.code == 0 and (tmp_path / "other" / "README.md").read_bytes() == CONTENT + b"\0"


def test_a_sweep_of_which_nothing_has_finished_has_no_best(launcher: Launcher, store: str, tmp_path: Path) -> None:
    name = of_sweep(launcher, store, tmp_path, {3: None})
    said: Any = launcher("results", name)
    assert said.code == 12 and "--index" in said.err
    assert launcher("results", name, "--index", "9").code == 16


def test_of_a_sweep_on_different_held_out_rows_none_is_called_the_best(
    launcher: Launcher, store: str, tmp_path: Path
) -> None:
    name = of_sweep_on_other_rows(launcher, store, tmp_path)
    status = launcher("status", name)
    assert "best" not in status.out and "not of the same held-out rows" in status.err
    refused = launcher("results", name)
    assert refused.code == 12 and "not comparable" in refused.err and f"compare {name}" in refused.err
    assert launcher("results", name, "--index", "2", "--into", str(tmp_path / "third")).code == 0


def test_the_runs_of_a_sweep_are_compared_by_its_name(launcher: Launcher, store: str, tmp_path: Path) -> None:
    name = of_sweep_on_other_rows(launcher, store, tmp_path)
    said = launcher("compare", name)
    assert said.code == 0, said.err
    assert "1.2500" in said.out and "1.0000 †" in said.out and "not begun" in said.out
