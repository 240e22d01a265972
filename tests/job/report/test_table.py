"""The table of a run's files: what is measured is shown, and can be sorted."""

from typing import Any

import pytest

from job.report.page import page
from job.report.table import COLUMNS, Line, columns
from tests.job.report.facts import facts

FULL = Line(
    "A.gguf", "Q4_K_M", 105_000_000, 5.1, (6.25, 0.5), (0.033, 0.004), 0.967, {"GPU": (9.5, 0.2)}, text=(9.5, 0.1),
    gpu_layers="20/33", ends=0.9, of_base={"rows": (0.5, 0.01), "text": (1.2, 0.01)},
    score=(37, 50, 0.6, 0.84),
)  # fmt: skip
OTHER: dict[str, Any] = {
    "name": "B.gguf", "type": "Q8_0", "size": 145_000_000, "bits": 8.5, "perplexity": (7.5, 0.5), "kld": (0.5, 0.004),
    "same_top": 0.5, "ms": {"GPU": (80.5, 0.2)}, "text": (8.5, 0.1), "gpu_layers": "33/33", "ends": 0.4,
    "of_base": {"rows": (0.5, 0.01), "text": (1.3, 0.01)}, "score": (38, 50, 0.62, 0.86),
}  # fmt: skip


@pytest.mark.parametrize("name", Line._fields)
def test_every_figure_of_a_file_is_shown_in_a_column_and_sorts_it(name: str) -> None:
    other = FULL._replace(**{name: OTHER[name]})
    (column,) = [one for one in columns([FULL, other]) if one.shown(FULL) != one.shown(other)]
    assert (column.number is None) == (name in ("name", "type"))
    if column.number:
        low, high = column.number(FULL), column.number(other)
        assert low is not None and high is not None and low != high


@pytest.mark.parametrize("column", [*COLUMNS, *columns([FULL])], ids=lambda column: column.heading)
def test_a_file_of_which_nothing_is_known_has_empty_cells_and_sorts_nowhere(column: Any) -> None:
    empty = Line("A.gguf", "Q4_K_M")
    assert column.number is None or (column.shown(empty), column.number(empty)) == ("", None)


def test_the_page_sorts_by_the_numbers_of_the_columns() -> None:
    html = page(facts())
    for line in facts().lines:
        if line.kld:
            assert f'"{line.kld[0]}"' in html and f'"{line.size}"' in html
