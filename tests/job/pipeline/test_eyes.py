"""A model with eyes, as Gemma 3 is from 4B on, is trained and exported as the language model that it holds."""

from pathlib import Path
from typing import Any

import pytest

from job.run.records import read_manifest
from job.store import open_store
from tests.gguf_file import read_gguf
from tests.job_process import run_job
from tests.tiny_families import make_gemma_3_with_eyes

pytestmark = pytest.mark.slow


def test_its_language_model_alone_is_adapted_and_published(small_spec: dict[str, Any], tmp_path: Path) -> None:
    small_spec["model"]["id"] = str(make_gemma_3_with_eyes(tmp_path / "model"))
    small_spec["training"]["max_steps"] = 2
    small_spec["export"]["types"] = ["f16"]
    ended = run_job(small_spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    manifest = read_manifest(open_store(small_spec["run"]["store"]), ended.events[-1]["run"])
    assert manifest and manifest.stages["train"].metrics["trainable"] == 2 * 2 * 8 * 64 + 2 * 8 * (128 + 64)
    (gguf,) = (tmp_path / "published").glob("*.gguf")
    assert not [name for name in read_gguf(gguf).tensors if name.startswith(("v.", "mm."))]
