"""Runs that come near what their container may use: 78 with the figures, and the next attempt completes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job import cgroup, node_disk
from job.errors import EnvironmentUnfit
from tests.job_process import Event, follow, run_job, started

pytestmark = pytest.mark.slow
LIMIT = 3 << 30
FILL = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
taken = []
while True:
    taken.append(b"x" * (16 << 20))
    time.sleep(0.02)
"""
"""Joins a group and takes memory until it is stopped."""


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of this machine's, limited to 3 GiB, in which one process kills all: as Kubernetes sets it."""
    for parent, file in ((cgroup.ROOT / "memory", "limit_in_bytes"), (cgroup.ROOT, "max")):
        made = parent / f"finetune-run-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            (made / f"memory.{file}").write_text(str(LIMIT))
            if (together := made / "memory.oom.group").is_file():
                together.write_text("1")
            yield made
            return
        except OSError:
            continue
        finally:
            made.rmdir()
    pytest.skip("this user may make no memory group here")


def test_memory_that_runs_out_ends_a_run_with_its_figures_and_the_next_attempt_goes_on(
    small_spec: dict[str, Any], tmp_path: Path, group: Path
) -> None:
    """Another process of the container takes it all."""
    gluttons: list[subprocess.Popen[bytes]] = []

    def fill(event: Event) -> None:
        if event["event"] == "checkpoint.stored" and not gluttons:
            gluttons.append(subprocess.Popen([sys.executable, "-c", FILL, group / "cgroup.procs"]))

    small_spec["training"]["max_steps"] = 2000
    inside = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    try:
        with started(small_spec, tmp_path, None, inside, real=True) as process:
            ended = follow(process, fill)
    finally:
        for glutton in gluttons:
            glutton.kill()
            glutton.wait()
    assert ended.code == EnvironmentUnfit.code, ended.output
    (failed,) = ended.named("run.failed")
    assert "the stage train uses 3.1" in failed["message"] and "this container may use 3.22 GB" in failed["message"]
    assert "oom_kill 0" in "".join(
        (group / name).read_text() for name in ("memory.oom_control", "memory.events") if (group / name).is_file()
    ), "the kernel was first"
    usage = next((tmp_path / "store").rglob("usage/0001.json")).read_text()
    assert f'"limit":{LIMIT}' in usage
    small_spec["training"]["max_steps"] = 8
    assert run_job(small_spec, tmp_path).code == 0


def test_disk_that_runs_out_ends_a_run_with_its_figures_and_the_next_attempt_completes(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    """Far less than the disk has free, as in a pod on a large node."""
    work = tmp_path / "work"
    limited = {node_disk.LIMIT: "600000000", node_disk.FOLDERS: str(work)}

    def fill(event: Event) -> None:
        if (event["event"], event.get("stage")) == ("stage.start", "train"):
            (work / "filler").write_bytes(bytes(590_000_000))

    with started(small_spec | {"training": small_spec["training"] | {"max_steps": 2000}}, work, limited) as process:
        ended = follow(process, fill)
    assert ended.code == EnvironmentUnfit.code, ended.output
    (failed,) = ended.named("run.failed")
    assert f"of the node's disk ({work} 0.59 GB), and this pod may use 0.60 GB" in failed["message"]
    (work / "filler").unlink()
    assert run_job(small_spec, work, limited).code == 0
