"""`check --access` tries what a run will read and write, before there is a run."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.hub_server import Hub
from tests.job.rehearsal.tokenizers import more_tokens
from tests.s3_server import Bucket
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_llama(tmp_path / "model")


@pytest.fixture
def check(s3: Bucket, hub: Hub, model: Path, tmp_path: Path) -> Any:
    hub.add("a/model", model)
    hub.add("a/rows", {"train.jsonl": b'{"text": "x"}\n'}, "dataset")

    def said(**sections: Any) -> subprocess.CompletedProcess[str]:
        spec: dict[str, Any] = {
            "model": {"id": "a/model"}, "dataset": {"id": "a/rows"},
            "run": {"store": f"s3://{s3.bucket}/runs"},
            "publish": {"s3": f"s3://{s3.bucket}/out", "hub": {"repo_id": "me/out"}},
        }  # fmt: skip
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec | sections))
        command = [forks.python(), "-m", "job", "check", str(path), "--access"]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)

    return said


def test_what_can_be_read_and_written_is_named(check: Any, s3: Bucket) -> None:
    done = check()
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert said[:-1] == [
        "a/model: readable", "a/rows: readable", f"s3://{s3.bucket}/runs: writable",
        f"s3://{s3.bucket}/out: writable", "hf://me/out: writable",
        "a/model: rehearsed without its weights: LlamaForCausalLM is loaded and exported, 4 of its 21 tensors changed",
    ]  # fmt: skip


def test_a_model_that_cannot_be_exported_is_refused_as_in_a_run_and_its_weights_are_not_fetched(
    check: Any, hub: Hub, model: Path
) -> None:
    targets = check(model={"id": str(model)}, lora={"target_modules": ["qkv_proj"]})
    assert targets.returncode == 64 and "lora.target_modules: qkv_proj not in" in targets.stderr
    more_tokens(model)
    hub.add("a/model", model)
    done = check()
    assert done.returncode == 82 and "its tokenizer has more ids: '<one-more>'" in done.stderr
    assert check(model={"id": str(model)}).returncode == 82
    assert not [one for one in hub.requests if one.path.endswith(".safetensors") and one.sent > 100_000]


@pytest.mark.parametrize(
    ("sections", "code", "what"),
    [
        ({"model": {"id": "a/nothing"}}, 66, "a/nothing"),
        ({"dataset": {"id": "a/nothing"}}, 66, "a/nothing"),
        ({"run": {"store": "s3://no-such-bucket/runs"}}, 66, "no-such-bucket"),
    ],
)
def test_what_refuses_is_named_with_its_exit_code(check: Any, sections: Any, code: int, what: str) -> None:
    done = check(**sections)
    assert done.returncode == code and what in done.stderr


def test_a_wrong_key_is_told(check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-key-wrong-key")
    done = check()
    assert done.returncode == 77 and "wrong-key" not in done.stdout + done.stderr
