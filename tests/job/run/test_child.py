"""The child's side of a stage: which modules it knows, and what it says on a full disk."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from job.errors import StorageFailed
from job.run import child
from tests import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("name", child.STAGES)
def test_a_stage_module_has_the_name_that_the_child_knows_it_by(name: str) -> None:
    module = importlib.import_module(child.STAGES[name])
    assert name == module.NAME
    assert callable(module.run) and {"Inputs", "Result"} <= vars(module).keys()


FILLS_THE_DISK = """
import os, sys, types
from pathlib import Path
from job.artifacts import Frozen
from job.run import child

def run(spec, inputs, folder):
    with (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))

sys.modules["fills"] = module = types.ModuleType("fills")
module.Inputs, module.run = Frozen, run
child.STAGES["fetch"] = "fills"
sys.exit(child.run_stage("fetch", Path(sys.argv[1]), os.open(os.devnull, os.O_WRONLY)))
"""


def test_a_stage_that_fills_its_disk_to_the_last_byte_still_says_what_it_could_not_write(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    spec = {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}}
    (tmp_path / "inputs.json").write_text(json.dumps({"spec": spec, "inputs": {}}))
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    script = (
        'mount -t tmpfs -o size=1m none "$1" && cp "$2" "$1" && "$3" -c "$4" "$1"\n'
        'code=$?; cat "$1/error.json"; exit $code'
    )
    given = [disk, tmp_path / "inputs.json", sys.executable, FILLS_THE_DISK]
    ended = subprocess.run(
        ["unshare", *as_root, "--mount", "sh", "-c", script, "sh", *given],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == StorageFailed.code, ended.stderr
    told = json.loads(ended.stdout)
    assert told["error"] == "StorageFailed"
    assert f"fetch cannot write to {disk}" in told["message"]
