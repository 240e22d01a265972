"""Whole runs on a machine whose GPU fails: what was trained is published, and only what is damaged is blamed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from job.run.records import read_manifest
from job.store import open_store
from tests.cuda_llama import FITTED, LAYERS, ON_CPU, SMALLER, WITHOUT, CudaLlama
from tests.job_process import Ended, run_job

pytestmark = pytest.mark.slow


@pytest.fixture
def cuda(tmp_path: Path) -> CudaLlama:
    return CudaLlama(tmp_path / "llama.cpp")


@pytest.fixture
def given(small_spec: dict[str, Any]) -> dict[str, Any]:
    """An existing model, so that what is judged is here after seconds."""
    return small_spec | {"training": None, "export": {"types": ["q8_0"], "imatrix": "none"}}


def run(given: dict[str, Any], work: Path, cuda: CudaLlama) -> Ended:
    return run_job(given, work, {"FINETUNE_LLAMA": str(cuda.folder)})


def rows_of(published: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The headings of the model card's table, and its rows by type."""
    lines = [line for line in (published / "README.md").read_text().splitlines() if line.startswith("| ")]
    heading, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return heading, {row[1]: row for row in rows}


def judged(given: dict[str, Any], ended: Ended, kind: str) -> dict[str, Any]:
    manifest = read_manifest(open_store(given["run"]["store"]), ended.events[-1]["run"])
    assert manifest is not None
    return manifest.stages[f"evaluate/{kind}"].metrics


def test_the_weights_of_a_type_are_loaded_three_times_and_those_of_the_unquantized_file_twice_beside_it(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    given["export"]["types"] = ["f16", "q4_k_m", "q8_0"]
    ended = run(given, tmp_path / "work", cuda)
    assert ended.code == 0, ended.output
    assert cuda.loads("q8_0") == cuda.loads("q4_k_m") == ["llama-examine", "llama-perplexity"]
    assert sorted(cuda.loads("f16")) == ["llama-examine", "llama-perplexity", "llama-quantize", "llama-quantize"]


def test_a_file_that_does_not_fit_runs_with_fewer_layers_and_the_table_says_with_how_many(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    cuda.fail(f"* {FITTED} *f16.gguf abort")
    ended = run(given, tmp_path / "work", cuda)
    assert ended.code == 0, ended.output
    assert {told["what"] for told in ended.named("llama.gpu_failed")} == {
        "it is tried again with fewer layers on the GPU"
    }
    assert judged(given, ended, "f16")["gpu_layers"] == f"1/{LAYERS}"
    assert judged(given, ended, "q8_0")["gpu_layers"] == f"2/{LAYERS}"
    heading, rows = rows_of(tmp_path / "published")
    layers = heading.index("GPU layers")
    assert (rows["F16"][layers], rows["Q8_0"][layers]) == (f"1/{LAYERS}", f"2/{LAYERS}")

    # A judgement of an earlier version has no layers.
    for path in (tmp_path / "store" / "stages" / "evaluate").rglob("stage.json"):
        record = json.loads(path.read_text())
        del record["metrics"]["gpu_layers"]
        for speed in record["metrics"]["speeds"]:
            del speed["gpu_layers"]
        path.write_text(json.dumps(record))
    again = copy.deepcopy(given)
    again["publish"]["folder"] = str(tmp_path / "elsewhere")
    later = run(again, tmp_path / "work", cuda)
    assert later.code == 0, later.output
    assert "evaluate" not in later.stages_run()
    heading, rows = rows_of(tmp_path / "elsewhere")
    (threads,) = [title for title in heading if title.startswith("ms/token, ")]
    assert "GPU layers" not in heading and threads.split()[-1] in ("thread", "threads")
    assert float(rows["Q8_0"][heading.index(threads)].split(" ± ")[0]) > 0


def test_a_perplexity_that_cannot_be_had_on_the_cpu_either_is_a_fault_of_the_node(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    cuda.fail("llama-perplexity * tiny-* abort")
    ended = run(given, tmp_path / "work", cuda)
    assert ended.code == 78, ended.output
    assert cuda.tries("llama-perplexity")[-4:] == [FITTED, SMALLER, ON_CPU, WITHOUT]
    assert "CUDA error: out of memory" in ended.output


def test_a_damaged_file_ends_the_run_as_such_beside_a_gpu_that_fails(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    cuda.fail(f"* {FITTED} * no_room", "llama-quantize * * damage")
    ended = run(given, tmp_path / "work", cuda)
    assert ended.code == 82, ended.output
    assert "does not run in llama.cpp, so it is not published" in ended.output and "invalid magic" in ended.output
