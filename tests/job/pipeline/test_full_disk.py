"""A disk that fills up under a run is told as one, and the next attempt completes."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from job.errors import StorageFailed
from tests.job_process import Event, follow, run_job, started

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("stage", ["fetch", "train", "export", "quantize"])
def test_a_full_disk_ends_a_run_with_74_and_its_folder_and_the_next_attempt_completes(
    small_spec: dict[str, Any], tmp_path: Path, stage: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    mounted = (
        "unshare",
        *as_root,
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o size=256m none {disk} && exec "$@"',
        "sh",
    )

    def fill(event: Event) -> None:
        if (event["event"], event.get("stage")) == ("stage.start", stage):
            filler = f"of=/proc/{process.pid}/root{disk}/filler"
            subprocess.run(["dd", "if=/dev/zero", filler, "bs=64K"], check=False, capture_output=True)

    with started(small_spec, tmp_path, {"FINETUNE_WORK": str(disk)}, mounted) as process:
        ended = follow(process, fill)
    assert ended.code == StorageFailed.code, ended.output
    failed = ended.named("run.failed")[0]
    assert str(disk) in failed["message"]
    assert run_job(small_spec, tmp_path / "work").code == 0
