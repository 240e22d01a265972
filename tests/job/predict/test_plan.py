"""`job plan`: whether a run fits and what would, each stage and the cost of all, in about a second."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from job.errors import UsageInvalid
from job.plan import describe
from tests.job.predict.families import spec
from tests.job.predict.sizes import SIZES, model_folder


@pytest.mark.slow
def test_the_plan_says_whether_it_fits_and_what_would(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, SIZES["13B"][0])
    asked = spec(model={"id": str(folder)}, training={"per_device_train_batch_size": 16, "max_steps": 10})
    said = describe(asked, "t4", 0.35)
    assert "does NOT fit a t4" in said and "all of these" in said and "; a " in said
    assert "estimated cost" in said and "Q4_K_M.gguf" in said
    assert "fits a h100" in describe(asked, "h100")
    with pytest.raises(UsageInvalid, match=r"--gpu: 't5' is not known; did you mean t4\?"):
        describe(asked, "t5")


@pytest.mark.slow
def test_a_plan_needs_no_torch_and_about_a_second(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(
        json.dumps({"model": {"id": str(model_folder(tmp_path, SIZES["7B"][0]))}, "dataset": {"id": "a/b"}})
    )
    program = (
        "import sys\nsys.argv = ['job', 'plan', sys.argv[1], '--gpu', 't4']\nfrom job.__main__ import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "spec.json"], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # 0.7 s on an idle CPU; a busy neighbour makes it longer.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert "fits a t4" in done.stdout


@pytest.mark.slow
def test_the_plan_shows_each_stage_and_the_cost_of_all(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, SIZES["7B"][0])
    asked = spec(model={"id": str(folder)}, dataset={"id": "a/b", "limit": 2500})
    said = describe(asked, "t4", 0.35)
    stages = [line.split()[1] for line in said.splitlines() if line.endswith((" h", " min", " s")) and "GB" in line]
    assert stages == ["fetch", "agree", "train", "export", "imatrix", "quantize", "evaluate", "publish", "in"]
    assert "the Job's deadline" in said and "estimated cost            at most" in said
    assert "name a GPU" in describe(asked)
