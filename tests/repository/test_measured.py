"""docs/measured.md is the one page of figures, and those of a GPU are what a run has written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.figures import NOT_MEASURED, figures
from tests import ROOT

PAGE = (ROOT / "docs" / "measured.md").read_text()
RESULTS = sorted((ROOT / "bench" / "gpu" / "results").glob("*.jsonl"))


@pytest.mark.parametrize("results", RESULTS, ids=lambda results: results.stem)
def test_the_page_has_what_the_command_prints_of_a_run(results: Path) -> None:
    command = [sys.executable, "-m", "bench.gpu", "--table", results]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"### {results.stem}\n\n{printed}" in PAGE


@pytest.mark.parametrize("results", RESULTS, ids=lambda results: results.stem)
def test_a_result_tells_nothing_of_the_folders_of_its_machine(results: Path) -> None:
    assert "/" not in re.sub(r'"gpu_layers": "[\d/]+"', "", results.read_text())


def test_the_page_names_every_command_that_measures() -> None:
    commands = set(re.findall(r"^\| `(python -m bench\.\w+)`", (ROOT / "bench" / "README.md").read_text(), flags=re.M))
    scripts = {path.stem for path in (ROOT / "bench").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert commands == {f"python -m bench.{name}" for name in {*scripts, "gpu"}}
    assert {command for command in commands if f"`{command}" not in PAGE} == set()


def test_what_a_run_has_not_reached_is_called_so() -> None:
    failed = {"part": "balloon", "case": "12 GB free: speed", "seconds": 3.0, "error": "CUDA error | out of memory"}
    made = {"part": "llama", "case": "quantize q4_k_m", "seconds": 99.0, "bytes": 5, "bits_per_weight": 4.8}
    printed = figures([json.loads(json.dumps(line)) for line in (made, failed)])
    for row in (
        f"The machine: {NOT_MEASURED}.",
        f"| q4_k_m | {NOT_MEASURED} |",
        "| quantize to q4_k_m (llama-2-7b) | 99 |",
        f"| quantize to q8_0 | {NOT_MEASURED} |",
        f"| 3 GB free | {NOT_MEASURED} |",
        "| balloon: 12 GB free: speed | CUDA error / out of memory | no error | **no** |",
    ):
        assert row in printed
