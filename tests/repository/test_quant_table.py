"""The table of docs/quantization.md has every type."""

from job.spec.quants import EVERY_TYPE, NEEDS_IMATRIX
from tests import ROOT


def test_the_table_has_every_type_once_and_marks_those_that_need_a_matrix() -> None:
    rows = [line for line in (ROOT / "docs" / "quantization.md").read_text().splitlines() if " GB | " in line]
    marked = {row.split("`")[1]: row.split("|")[1].strip().endswith("*") for row in rows}
    assert len(rows) == len(marked) and marked == {kind: kind in NEEDS_IMATRIX for kind in EVERY_TYPE}
