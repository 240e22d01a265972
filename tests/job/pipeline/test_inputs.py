"""A run whose model and rows came along from the machine that launched it: from a store, a volume, the ConfigMap."""

from pathlib import Path
from typing import Any

import pytest

from job.local_files import inputs_of, moved, places_here
from job.spec import JobSpec
from job.store import open_store
from k8s.inputs.along import packed
from k8s.inputs.upload import to_store
from tests.job_process import run_job
from tests.s3_server import Bucket

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("way", ["s3", "volume", "config map"])
def test_a_run_of_a_model_and_rows_that_came_along_completes(
    way: str, small_spec: dict[str, Any], s3: Bucket, tmp_path: Path
) -> None:
    asked = JobSpec.model_validate(small_spec | {"export": {"types": ["q8_0"]}})
    work, extra = tmp_path / "work", {}
    rows = [asked.datasets[0].id]  # a model is too large for a ConfigMap
    inputs = inputs_of([asked], rows if way == "config map" else places_here([asked]))
    root = {"s3": s3.url, "volume": str(tmp_path / "volume"), "config map": str(work)}[way]
    if way == "config map":
        (tmp_path / "inputs.tar.gz").write_bytes(packed(inputs))
        extra = {"FINETUNE_INPUTS": str(tmp_path / "inputs.tar.gz")}
    else:
        to_store(open_store(root), inputs, lambda *_: None)
    sent = moved(asked, {one.place: f"{root}/{one.key}" for one in inputs})
    assert not {one.place for one in inputs} & set(places_here([sent]))
    ended = run_job(sent.model_dump(mode="json", exclude_unset=True), work, extra)
    assert ended.code == 0, ended.output[-2000:]
    assert (tmp_path / "published" / "tiny-Q8_0.gguf").is_file()


def test_rows_that_were_changed_on_the_volume_end_the_run(small_spec: dict[str, Any], tmp_path: Path) -> None:
    asked = JobSpec.model_validate(small_spec)
    (rows,) = inputs_of([asked], [asked.datasets[0].id])
    volume = tmp_path / "volume"
    to_store(open_store(str(volume)), [rows], lambda *_: None)
    (volume / rows.key).write_bytes((volume / rows.key).read_bytes() + b'{"quote": "one more"}\n')
    sent = moved(asked, {rows.place: f"{volume}/{rows.key}"})
    ended = run_job(sent.model_dump(mode="json", exclude_unset=True), tmp_path / "work")
    assert ended.code == 82 and "that its place names" in ended.output
