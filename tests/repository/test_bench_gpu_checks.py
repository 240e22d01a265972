"""Each limit of the GPU check is one that a run can miss."""

import json
from typing import Any

import pytest

from bench.gpu.checks import SPEED, T4, checks
from bench.gpu.parts import chosen
from bench.gpu.record import Line

JOB: Line = {"part": "job-fp16", "case": "job fp16", "device": "NVIDIA H100", "loss": 10.4, "tokens_per_s": 4000.0,
             "predicted": 8.0e9, "context": 6e8, "ratio": 1.0, "reserved": 9.5e9}  # fmt: skip
PLAIN: Line = {"part": "plain-fp16", "case": "plain fp16", "device": "NVIDIA H100", "loss": 10.4, "tokens_per_s": 4e3}
RECIPE = JOB | {"part": "variants", "case": "recipe", "is_predicted": True}
F16: Line = {"part": "llama", "case": "f16, sums in float16", "kld": 1e-5, "kld_error": 1e-6, "gpu": True,
             "gpu_layers": "33/33"}  # fmt: skip
Q4 = F16 | {"case": "q4_k_m", "kld": 0.02, "kld_error": 1e-3, "bits_per_weight": 4.83}
BALLOON: Line = {"part": "balloon", "case": "3 GB free: speed", "free_gb": 3, "gpu": True, "gpu_layers": "28/33"}
BUILD: Line = {"part": "build", "case": "build", "architectures": "90-real", "devices": ["CUDA0: NVIDIA H100"]}
SOUND = [BUILD, JOB, PLAIN, RECIPE, F16, Q4, BALLOON]


def failing(lines: list[Line]) -> list[str]:
    return [one.what for one in checks(lines) if not one.holds]


def test_a_run_in_which_all_holds() -> None:
    assert failing(SOUND) == []
    assert len(checks(SOUND)) == 14


@pytest.mark.parametrize(
    ("line", "changes", "fails"),
    [
        (BUILD, {"devices": []}, ["build: build: what llama.cpp finds"]),
        (BUILD, {"devices": [], "architectures": ""}, []),
        (JOB, {"tokens_per_s": 4000 * SPEED - 1}, ["tokens/s, job over plain, fp16 (1 and 1 runs)"]),
        (JOB, {"loss": None}, ["job-fp16: job fp16: loss"]),
        (PLAIN, {"loss": None}, ["plain-fp16: plain fp16: loss"]),
        (JOB, {"ratio": 0.89}, ["job-fp16: job fp16: VRAM, predicted over allocated"]),
        (RECIPE, {"ratio": 1.11}, ["variants: recipe: VRAM, predicted over allocated"]),
        (RECIPE, {"ratio": 1.11, "is_predicted": False}, []),
        (JOB, {"reserved": T4 + 1}, ["job-fp16: job fp16: VRAM reserved"]),
        (JOB, {"reserved": T4 + 1, "predicted": T4}, []),
        (Q4, {"kld": 0.4}, ["llama: q4_k_m: KL divergence"]),
        (F16, {"kld": 0.0}, ["llama: f16, sums in float16: KL divergence"]),
        (F16, {"kld": 0.0, "gpu": False}, []),
        (Q4, {"gpu_layers": "32/33"}, ["llama: q4_k_m: layers on the GPU"]),
        (Q4, {"gpu_layers": "0"}, ["llama: q4_k_m: layers on the GPU"]),
        (BALLOON, {"gpu_layers": "33/33"}, ["balloon: 3 GB free: speed: layers on the GPU"]),
        (BALLOON, {"gpu_layers": "0"}, ["balloon: 3 GB free: speed: layers on the GPU"]),
        (BALLOON, {"gpu_layers": "0/33", "free_gb": 1}, []),
        (BALLOON, {"error": "CUDA error"}, ["balloon: 3 GB free: speed"]),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_each_limit_is_checked(line: Line, changes: dict[str, Any], fails: list[str]) -> None:
    assert failing([one | changes if one is line else one for one in SOUND]) == fails


def test_speeds_of_a_cpu_are_not_compared() -> None:
    assert not any("tokens/s" in one.what for one in checks([JOB | {"device": "cpu", "tokens_per_s": 1.0}, PLAIN]))


def test_a_speed_is_the_median_of_its_runs() -> None:
    again = [JOB | {"part": "job-fp16-again", "tokens_per_s": 4200.0}, PLAIN | {"part": "plain-fp16-again"}]
    (ratio,) = [one for one in checks([JOB | {"tokens_per_s": 3600.0}, PLAIN, *again]) if "tokens/s" in one.what]
    assert (ratio.what, ratio.measured) == ("tokens/s, job over plain, fp16 (2 and 2 runs)", "0.975")


def test_a_part_that_was_not_reached_is_named() -> None:
    missing = [one for one in checks(SOUND, chosen(["llama", "balloon"])) if not one.holds]
    assert [(one.what, one.measured) for one in missing] == [
        ("model-short", "not reached in time"),
        ("export", "not reached in time"),
    ]
