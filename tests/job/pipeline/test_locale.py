"""A run reads and writes text as UTF-8, whatever the terminal's encoding is."""

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.job_process import run_job

pytestmark = pytest.mark.slow
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Without the two of Python's own, C would stand for C.UTF-8 (https://peps.python.org/pep-0538, pep-0540)."""


def test_rows_and_answers_in_any_script_pass_a_run_in_an_ascii_locale(
    small_spec: dict[str, Any], tmp_path: Path
) -> None:
    table = tmp_path / "rows.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("question", "answer"))
        rows.writerows((f"Wie heißt Straße {n}?", f"“Καλημέρα {n}” 東京") for n in range(40))
    small_spec["dataset"] = {
        "id": str(table), "columns": {"prompt": "question", "completion": "answer"}, "eval_fraction": 0.1
    }  # fmt: skip
    small_spec["training"]["max_steps"] = 2
    small_spec["export"]["types"] = ["q8_0"]
    ended = run_job(small_spec, tmp_path / "work", ASCII, real=True)
    assert ended.code == 0, ended.output[-3000:]
    assert "±" in ended.output, "the table of the results has a sign that ASCII has not"
    report = (tmp_path / "published" / "report" / "index.html").read_text(encoding="utf-8")
    assert "Wie heißt Straße" in report and "東京" in report
