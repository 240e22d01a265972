"""Budgets in `export.types`: what is a budget, what it is called, and what else it needs."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.spec import JobSpec
from tests.job.spec.refusals import refused


def spec(*types: Any, **parts: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"model": {"id": "a/b"}, "dataset": {"id": "c/d"}, "export": {"types": types}} | parts
    )


def refusal(folder: Path, parts: dict[str, Any]) -> str:
    path = folder / "spec.json"
    path.write_text(json.dumps({"model": {"id": "a/b"}, "dataset": {"id": "c/d"}} | parts))
    return refused(path)


@pytest.mark.parametrize(
    ("written", "label", "size", "bits"),
    [
        ("6G", "fit-6g", 6_000_000_000, None),
        ("6g", "fit-6g", 6_000_000_000, None),
        ("700M", "fit-700m", 700_000_000, None),
        ("1.50 G", "fit-1.5g", 1_500_000_000, None),
        ("4.5bpw", "fit-4.5bpw", None, 4.5),
        ("4.50BPW", "fit-4.5bpw", None, 4.5),
        ("10G", "fit-10g", 10_000_000_000, None),
    ],
)
def test_a_budget_is_a_size_or_bits_per_weight(written: str, label: str, size: int | None, bits: float | None) -> None:
    (fit,) = spec({"fit": written}).export.fits
    assert (fit.label, fit.size, fit.bits) == (label, size, bits)


def test_budgets_stand_beside_types_and_each_is_made_once() -> None:
    export = spec("Q4_K", {"fit": "6G"}, {"fit": "6g"}, {"fit": "6G", "context": 8192}, "q4_k_m").export
    assert export.labels == ["q4_k_m", "fit-6g", "fit-6g-c8192"]
    assert (export.presets, [fit.context for fit in export.fits]) == (["q4_k_m"], [None, 8192])


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"fit": "6"}, 'export.types.0.fit: "6" -> a number and a unit are expected; write e.g. 6G, 700M or 4.5bpw'),
        ({"fit": "5GB"}, "write e.g. 5G, 700M or 4.5bpw"),
        ({"fit": "0G"}, "a number and a unit are expected"),
        ({"fit": "-6G"}, "a number and a unit are expected"),
        ({"fit": 6}, "a size is expected"),
        ({"fit": None}, "a size is expected"),
        ({}, "export.types.0.fit: not set -> required"),
        ({"fit": "6G", "context": 0}, "export.types.0.context: 0 -> out of range"),
        ({"fit": "4.5bpw", "context": 4096}, "bits per weight are of the file alone"),
        ({"fit": "6G", "judgings": 3}, "export.types.0.judgings: 3 -> out of range"),
        ({"fit": "6G", "contxt": 3}, "export.types.0.contxt: 3 -> unknown; did you mean"),
        (["6G"], "export.types.0"),
    ],
)
def test_anything_else_is_refused_at_its_place(tmp_path: Path, entry: Any, said: str) -> None:
    assert said in refusal(tmp_path, {"export": {"types": [entry]}})


def test_two_searches_for_one_file_are_refused(tmp_path: Path) -> None:
    types = [{"fit": "6G"}, {"fit": "6G", "judgings": 60}]
    assert "fit-6g is searched with two numbers of judgings" in refusal(tmp_path, {"export": {"types": types}})


def test_a_search_needs_rows_and_judging(tmp_path: Path) -> None:
    types = {"export": {"types": [{"fit": "6G"}]}}
    assert "evaluation.judge" in refusal(tmp_path, types | {"evaluation": {"judge": False}})
    assert "name a data set" in refusal(tmp_path, types | {"dataset": None, "training": None})
