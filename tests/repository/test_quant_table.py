"""The table of docs/quantization.md is what the bundled llama.cpp says."""

import subprocess
import sys

import pytest

from job.spec.quants import EVERY_TYPE, NEEDS_IMATRIX
from tests import ROOT

pytestmark = pytest.mark.slow


def test_the_table_of_types_is_what_llama_cpp_says_now() -> None:
    checked = subprocess.run([sys.executable, ROOT / "scripts" / "quant_table.py", "--check"], check=False)
    assert checked.returncode == 0, "run scripts/quant_table.py"


def test_the_table_has_every_type_once_and_marks_those_that_need_a_matrix() -> None:
    rows = [line for line in (ROOT / "docs" / "quantization.md").read_text().splitlines() if " GB | " in line]
    marked = {row.split("`")[1]: row.split("|")[1].strip().endswith("*") for row in rows}
    assert len(rows) == len(marked) and marked == {kind: kind in NEEDS_IMATRIX for kind in EVERY_TYPE}
