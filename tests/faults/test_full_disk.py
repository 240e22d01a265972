"""A disk that fills up under a run is told as one, and the next attempt completes."""

import os
import subprocess

import pytest

from tests.faults.runs import Process, Run, once

pytestmark = pytest.mark.slow

FULL = 74


@pytest.mark.parametrize("stage", ["fetch", "train", "export", "quantize", "publish"])
def test_a_full_disk_ends_a_run_with_its_folder_and_the_next_attempt_completes(run: Run, stage: str) -> None:
    disk = run.root / "disk"
    disk.mkdir()
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    mount = f'mount -t tmpfs -o size=256m none {disk} && exec "$@"'

    def fill(process: Process) -> None:
        filler = f"of=/proc/{process.pid}/root{disk}/filler"
        subprocess.run(["dd", "if=/dev/zero", filler, "bs=64K"], check=False, capture_output=True)

    mounted = ("unshare", *as_root, "--mount", "sh", "-c", mount, "sh")
    ended = run.ends(FULL, once(fill, "stage.start", stage=stage), under=mounted, FINETUNE_WORK=str(disk))
    assert str(disk) in ended.named("run.failed")[0]["message"]
    run.completes()
