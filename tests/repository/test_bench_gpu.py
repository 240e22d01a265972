"""The check of the GPU path runs here too, with tiny models through the same code; a part that fails becomes a line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.gpu import runner
from bench.gpu.build import architecture_here
from bench.gpu.parts import PARTS, SEVEN_B, SHORT, WIDE, Part, chosen
from bench.gpu.record import ROOT, Bench
from bench.gpu.runner import BUSY_CPU, run
from job.spec.training import TILE_TOKENS, TILE_WORDS
from tests import forks

TRAINED = {"model", "device", "loss", "tokens_per_s", "steps"}
PREDICTED = TRAINED | {"skipped_steps", "predicted", "context", "predicted_parts", "triton"}
VARIANT = PREDICTED | {"is_predicted", "tile"}
JUDGED = {"gpu", "gpu_layers", "perplexity"}
COMPARED = JUDGED | {"ratio", "ratio_error", "kld", "kld_error", "same_top"}
SPEEDS = {"gpu", "gpu_layers", "speeds"}
LINES: dict[str, dict[str, set[str]]] = {
    "machine": {"machine": {"driver", "gpus", "cuda", "capability", "versions"}},
    "build": {"build": {"is_packed", "architectures", "version", "devices"}},
    "model": {SEVEN_B: {"is_new", "bytes"}},
    "model-short": {SHORT: {"is_new", "bytes"}},
    "job-fp16": {"job fp16": PREDICTED},
    "plain-fp16": {"plain fp16": TRAINED},
    "job-bf16": {"job bf16": PREDICTED},
    "plain-bf16": {"plain bf16": TRAINED},
    "job-fp16-again": {"job fp16": PREDICTED},
    "plain-fp16-again": {"plain fp16": TRAINED},
    "job-bf16-again": {"job bf16": PREDICTED},
    "plain-bf16-again": {"plain bf16": TRAINED},
    "variants": {
        "recipe": VARIANT,
        "recipe, without Triton": VARIANT,
        "packing": VARIANT,
        "recomputed as auto has it on an L4": VARIANT | {"recompute_every"},
        "recomputed as auto has it on a T4": VARIANT | {"recompute_every"},
        "all-linear, r 16": VARIANT,
        "short rows": VARIANT,
        "short rows, without checkpointing": VARIANT,
        "frozen weights in float32": VARIANT,
        "frozen weights in float32, all-linear, r 16": VARIANT,
    },
    "model-wide": {WIDE: {"is_new", "bytes"}},
    "variants-wide": {
        "wide": VARIANT,
        "wide, without Triton": VARIANT,
        "wide, without Triton, TRL's own tiles": VARIANT,
        "wide, without checkpointing": VARIANT,
    },
    "export": {"export": {"model", "is_new", "bytes"}},
    "llama": {
        "f16": JUDGED | {"model", "chunks"},
        "f16, sums in float16": COMPARED | {"model"},
        "speed f16": SPEEDS,
        "imatrix": {"model", "bytes"},
        "quantize q4_k_m": {"model", "bytes", "bits_per_weight"},
        "q4_k_m": COMPARED | {"model", "bits_per_weight"},
        "speed q4_k_m": SPEEDS,
        "answer q4_k_m": {"answer"},
        "quantize q8_0": {"model", "bytes", "bits_per_weight"},
        "q8_0": COMPARED | {"model", "bits_per_weight"},
        "speed q8_0": SPEEDS,
        "answer q8_0": {"answer"},
    },
    "balloon": {
        "3 GB free: perplexity": JUDGED | {"free_gb"},
        "3 GB free: speed": SPEEDS | {"free_gb"},
        "1 GB free: perplexity": JUDGED | {"free_gb"},
    },
}
"""The fields of each case beside part, case and seconds. A GPU adds those of its memory."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench-gpu")


def bench(place: Path, out: Path, *parts: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], Bench]:
    command = [forks.python(), "-m", "bench.gpu", "--tiny", "--work", str(place), "--out", str(out), *parts]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done, Bench(place, out, tiny=True)


@pytest.mark.slow
@pytest.mark.parametrize("part", [part.name for part in PARTS])
def test_each_part_runs_without_a_gpu(place: Path, tmp_path: Path, part: str) -> None:
    done, there = bench(place, tmp_path, part)
    lines = [line for line in there.lines() if line["part"] == part]
    assert {line["case"]: line.keys() - {"part", "case", "seconds"} for line in lines} == LINES[part], lines
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("| check | measured | limit | holds |")


@pytest.mark.parametrize(
    ("says", "architecture"), [("echo 9.0; echo 7.5", "90-real"), ("echo No devices were found; exit 6", "")]
)
def test_the_build_is_for_the_first_gpu(
    says: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "nvidia-smi", says)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert architecture_here() == architecture


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_gpu_only_tiny_models_run(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "bench.gpu", "--out", str(tmp_path), "machine"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nvidia-smi names no GPU here; `--tiny` runs the same code on the CPU" in done.stderr


@pytest.mark.slow
def test_only_one_variant_computes_the_loss_in_the_tiles_of_trl(place: Path, tmp_path: Path) -> None:
    _, there = bench(place, tmp_path, "variants-wide")
    tiles = {line["case"]: tuple(line["tile"]) for line in there.lines() if "tile" in line}
    trl = tiles.pop("wide, without Triton, TRL's own tiles")
    (job,) = set(tiles.values())
    assert job == (TILE_TOKENS, TILE_WORDS) and trl > job


def test_what_a_part_needs_runs_before_it() -> None:
    assert [part.name for part in chosen(["balloon"])] == ["build", "model-short", "export", "balloon"]
    assert chosen([]) == list(PARTS)
    for number, part in enumerate(PARTS):
        assert set(part.needs) <= {before.name for before in PARTS[:number]}


@pytest.mark.slow
def test_a_part_that_fails_becomes_a_line_and_the_others_run(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / SEVEN_B).write_text("in the way of the model's folder")
    done, there = bench(tmp_path, tmp_path, "model", "job-fp16", "model-wide")
    lines = {line["part"]: line for line in there.lines()}
    assert "FileExistsError" in lines["model"]["error"]
    assert lines["job-fp16"]["error"] == "not started, because `model` failed"
    assert lines["model-wide"]["is_new"] is True
    assert done.returncode == 1
    assert "| **no** |" in done.stdout


@pytest.mark.slow
def test_a_part_that_takes_too_long_ends_with_all_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build hangs: its first program is one that starts another and waits."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs / "nice", f"echo compiling\nsleep 600 & echo $! >{tmp_path}/pid\nwait")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    build, model = (next(part for part in PARTS if part.name == name) for name in ("build", "model-wide"))
    lines = run([build._replace(limit_s=20 / BUSY_CPU), model], Bench(tmp_path, tmp_path, tiny=True))
    assert {line["part"]: line.get("error") for line in lines} == {
        "model-wide": None,
        "build": "took longer than 20 s: compiling",
    }
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_a_part_that_waits_for_the_background_lets_others_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`alone` is not disturbed; without a background, all go in order."""
    slow, needs = Part("slow", 9, "", background=True), Part("needs", 9, "", needs=("slow",))
    alone, after = Part("alone", 9, "", alone=True), Part("after", 9, "", needs=("needs",))
    parts = [slow, needs, after, alone, Part("free", 9, "")]
    for wanted, seconds in ((["slow", "free", "needs", "after", "alone"], "1"), ([one.name for one in parts], "0")):
        begun: list[str] = []

        def start(part: Part, bench: Bench, begun: list[str] = begun, seconds: str = seconds) -> runner.Running:
            begun.append(part.name)
            process = subprocess.Popen(["sleep", seconds if part is slow else "0"], process_group=0)
            if part is slow and seconds == "0":
                process.wait()
            return runner.Running(part, process, time.monotonic(), 0)

        monkeypatch.setattr(runner, "start", start)
        assert run(parts, Bench(tmp_path, tmp_path, tiny=True)) == []
        assert begun == wanted


@pytest.mark.slow
def test_a_run_that_is_stopped_shows_what_there_is(tmp_path: Path) -> None:
    (programs := tmp_path / "bin").mkdir()
    program(programs / "nice", "exec sleep 600")
    command = [sys.executable, "-m", "bench.gpu", "--tiny", "--work", tmp_path, "--out", tmp_path, "export"]
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    there = Bench(tmp_path, tmp_path, tiny=True)
    while not there.lines() and process.poll() is None:
        time.sleep(0.2)
    process.terminate()
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "| build: the whole part | the run was stopped | no error | **no** |" in shown
    assert "| export | not reached in time | a line | **no** |" in shown
    assert "Traceback" not in told


def has_ended(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    return False


def test_a_case_that_fails_becomes_a_line_and_the_next_one_runs(tmp_path: Path) -> None:
    there = Bench(tmp_path, tmp_path, part="llama")
    with there.case("first") as fields:
        fields["bytes"] = 5
        raise ValueError("no room")
    with there.case("second") as fields:
        fields["bytes"] = 7
    first, second = there.lines()
    assert first.pop("seconds") >= 0 and second.pop("seconds") >= 0
    assert first == {"part": "llama", "case": "first", "bytes": 5, "error": "ValueError: no room"}
    assert second == {"part": "llama", "case": "second", "bytes": 7}
