"""Tables of results, on a terminal and in a file."""

import sys

import pytest

from k8s.output import table

ROWS = [["run-1", "日本", "a:x:b [bold]"], ["a-longer-run", "", "two\nlines"]]


def test_columns_are_as_wide_as_their_widest_cell_and_each_cell_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table(("NAME", "WHERE", "WHY"), ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME          WHERE  WHY",
        "run-1         日本   a:x:b [bold]",
        "a-longer-run         two\\nlines",
    ]


def test_a_terminal_that_is_too_narrow_gets_cells_folded_and_nothing_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "24")
    table(("NAME", "WHERE", "WHY"), ROWS)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) > 3
    assert "a:x:b" in shown and "[bold]" in shown
    monkeypatch.setenv("COLUMNS", "80")
    table(("NAME", "WHERE", "WHY"), ROWS)
    assert len(capsys.readouterr().out.splitlines()) == 3
