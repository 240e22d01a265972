"""docs/security.md: each defence that it states has tests that attack it."""

import re

import pytest

from tests import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()
TABLES = [table.splitlines() for table in re.findall(r"(?:^\|.*\|\n)+", PAGE, flags=re.M)][1:]
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for table in TABLES for row in table[2:]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_defence_names_tests_that_exist(row: list[str]) -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", row[2])
    assert named
    for name in named:
        files = [ROOT / name] if name.endswith(".py") else list((ROOT / name).glob("test_*.py"))
        assert files and all(re.search(r"^def test_", file.read_text(), flags=re.M) for file in files), name


def test_the_page_has_a_table_for_each_border() -> None:
    assert re.findall(r"^## (.*)$", PAGE, flags=re.M)[:6] == [
        "A model or an adapter", "An address in a spec", "A data set", "The run store", "Secrets",
        "The node and the cluster",
    ]  # fmt: skip
    assert len(TABLES) == 6
