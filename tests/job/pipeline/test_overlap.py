"""Whole runs on a machine with a GPU, which is busy while the CPU makes the next file."""

import copy
import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from job.run.records import read_manifest
from job.store import open_store
from tests.cuda_llama import CudaLlama
from tests.faults.runs import stop
from tests.job_process import Ended, Event, run_job

pytestmark = pytest.mark.slow
TYPES = ["q4_k_m", "q8_0", "q5_k_m"]
MEASURED = {"seconds", "took", "likely", "most", "speeds", "gpu_layers", "finished", "inputs", "key"}
"""What differs between two runs of one spec, or says whether a GPU did the work."""


@pytest.fixture
def cuda(tmp_path: Path) -> CudaLlama:
    return CudaLlama(tmp_path / "llama.cpp")


@pytest.fixture
def given(small_spec: dict[str, Any]) -> dict[str, Any]:
    """An existing model, so that the first type is made after seconds."""
    return small_spec | {"training": None, "export": {"types": TYPES, "imatrix": "none"}}


def on_gpu(cuda: CudaLlama) -> dict[str, str]:
    return {"FINETUNE_LLAMA": str(cuda.folder)}


def moments(ended: Ended) -> dict[tuple[str, str, str], int]:
    """When a stage began and ended, by the number of its event."""
    found = [one for one in ended.events if one["event"] in ("stage.start", "stage.end") and one.get("type")]
    return {(one["event"].removeprefix("stage."), one["stage"], one["type"]): one["seq"] for one in found}


def told(given: dict[str, Any], ended: Ended) -> Any:
    """The manifest without what is measured anew in each run. As a list, since its order counts."""
    manifest = read_manifest(open_store(given["run"]["store"]), ended.events[-1]["run"])
    assert manifest is not None

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return [[name, ordered(one)] for name, one in value.items() if name not in MEASURED]
        return [ordered(one) for one in value] if isinstance(value, list) else value

    files = [[file.name, file.type, file.sha256] for file in manifest.files if file.type != "document"]
    return ordered(json.loads(manifest.model_dump_json(include={"stages"}))), files


def elsewhere(given: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The same for another store and place."""
    other = copy.deepcopy(given)
    other["run"]["store"], other["publish"]["folder"] = str(tmp_path / "other"), str(tmp_path / "other-published")
    return other


def test_with_a_gpu_types_are_made_while_others_are_judged_and_the_manifest_is_the_same(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    most: list[int] = []

    def look(_: Any, event: Event) -> None:
        lying = [path for path in (tmp_path / "work").glob("*/quantize/*/*.gguf") if not path.name.startswith(".")]
        most.append(len(lying))

    ended = run_job(given, tmp_path / "work", on_gpu(cuda), look)
    assert ended.code == 0, ended.output
    when = moments(ended)
    judged = ["f16", *TYPES]
    for kind, other in zip(TYPES, judged, strict=False):
        assert when["start", "quantize", kind] < when["end", "evaluate", other], "it was made after that was judged"
        assert when["end", "evaluate", other] < when["start", "try", kind], "two programs would share the GPU"
    for first, third in zip(TYPES, TYPES[2:], strict=False):
        assert when["end", "evaluate", first] < when["start", "quantize", third]
    assert max(most) == 2, "more files lay on the disk at once than are predicted"

    alone = elsewhere(given, tmp_path)
    one_by_one = run_job(alone, tmp_path / "other-work")
    assert one_by_one.code == 0, one_by_one.output
    when = moments(one_by_one)
    for kind, other in zip(TYPES, judged, strict=False):
        assert when["end", "evaluate", other] < when["start", "quantize", kind], "two would compute on the same CPUs"
    assert told(given, ended) == told(alone, one_by_one)


def test_a_file_that_cannot_be_made_ends_the_run_while_another_is_judged(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama
) -> None:
    cuda.fail("llama-quantize * q8_0 killed", "llama-perplexity * *q4_k_m* slow", "llama-examine * *q4_k_m* slow")
    ended = run_job(given, tmp_path / "work", on_gpu(cuda))
    assert ended.code == 78, ended.output
    (failed,) = ended.named("run.failed")
    assert "llama-quantize" in failed["message"] and "killed by signal 9" in failed["message"]
    assert ("end", "evaluate", "q4_k_m") not in moments(ended), "it did not end at once"
    cuda.fail()
    again = run_job(given, tmp_path / "work", on_gpu(cuda))
    assert again.code == 0, again.output
    assert ("start", "evaluate", "f16") not in moments(again), "what was kept is not judged again"


@pytest.mark.parametrize(("stage", "kind"), [("quantize", "q8_0"), ("try", "q8_0"), ("evaluate", "q8_0")])
def test_a_run_that_is_stopped_in_any_lane_leaves_no_program_and_goes_on(
    given: dict[str, Any], tmp_path: Path, cuda: CudaLlama, stage: str, kind: str
) -> None:
    given["export"]["types"] = TYPES[:2]

    def stop_there(process: Any, event: Event) -> None:
        if (event["event"], event.get("stage"), event.get("type")) == ("stage.start", stage, kind):
            stop(process)

    ended = run_job(given, tmp_path / "work", on_gpu(cuda), stop_there)
    assert ended.code == 75, ended.output
    left = [one for one in psutil.process_iter(["cmdline"]) if str(cuda.folder) in " ".join(one.info["cmdline"] or ())]
    assert not left
    again = run_job(given, tmp_path / "work", on_gpu(cuda))
    assert again.code == 0, again.output
    assert ("start", "evaluate", "f16") not in moments(again)
