"""Runs that come near what their container may use: 78 with the figures, and the next attempt completes."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job import cgroup, node_disk
from job.errors import EnvironmentUnfit
from job.pipeline import preflight
from job.predict import tally
from job.predict.config import seen_here
from job.spec import JobSpec
from tests.job_process import Event, follow, run_job, started
from tests.tiny_models import VOCAB_SIZE, save

pytestmark = pytest.mark.slow
LIMIT = 3 << 30
FILL = f"""
import os, pathlib, sys, time
group = pathlib.Path(sys.argv[1])
(group / "cgroup.procs").write_text(str(os.getpid()))
(used,) = (group / name for name in ("memory.usage_in_bytes", "memory.current") if (group / name).is_file())
taken = []
while True:
    taken.append(b"x" * (16 << 20 if int(used.read_text()) < {int(0.9 * LIMIT)} else 1 << 20))
    time.sleep(0.02)
"""
"""Joins a group and takes memory until it is stopped, slowly at last: a watcher on a busy machine looks seldom."""


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
            gluttons.append(subprocess.Popen([sys.executable, "-c", FILL, group]))

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
    used = re.search(
        r"the stage train uses ([\d.]+) GB of memory, and this container may use 3.22 GB", failed["message"]
    )
    assert used and 0.97 * LIMIT <= float(used[1]) * 1e9 + 5e6 <= LIMIT + 1e7
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


BLIND = """
import re, runpy, sys
from job.predict import tally
tally._ROUTER = re.compile("(?!)")
del sys.argv[1:4]
runpy.run_module("job", run_name="__main__")
"""
"""The job, but it takes the routers in the headers of the files for layers; its stages are processes of their own."""


def test_sizes_that_only_the_class_shows_end_a_run_before_the_weights_are_fetched(
    small_spec: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has its layers in 16 bits, and all else in 32."""
    from transformers import MixtralConfig

    sizes = {"hidden_size": 512, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MixtralConfig(vocab_size=VOCAB_SIZE, num_hidden_layers=4, num_local_experts=256, **sizes)
    model, work = save(tmp_path / "model", config), tmp_path / "work"
    asked = small_spec | {"model": {"id": str(model)}}

    def needed() -> int:
        spec = JobSpec.model_validate(asked)
        return preflight.predicted(spec, seen_here(spec).model, None, None).disk_peak.size

    most = needed()
    monkeypatch.setattr(tally, "_ROUTER", re.compile("(?!)"))
    least = needed()
    assert most > least + 1_000_000
    limit = int((least + most) / 2 / node_disk.USABLE)
    limited = {node_disk.LIMIT: str(limit), node_disk.FOLDERS: str(work)}
    ended = run_job(asked, work, limited, under=(sys.executable, "-c", BLIND), real=True)
    assert ended.code == EnvironmentUnfit.code, ended.output
    assert ended.stages_run() == {"preflight", "rehearse"}
    (failed,) = ended.named("run.failed")
    assert "GB free, but the stage" in failed["message"]
    assert [one["needed"] for one in ended.named("preflight.disk")] == [least, most]
