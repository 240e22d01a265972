"""Reads runs of a folder as `compare` does, and looks cells up in its tables."""

from pathlib import Path

from job.store import open_store
from k8s.results.compare import Entry, named
from k8s.results.tables import Table


def read(folder: Path, *runs: str) -> list[Entry]:
    return [named(open_store(str(folder)), run) for run in runs]


def of(found: list[Table], title: str) -> Table:
    return next(one for one in found if one.title == title)


def row(found: Table, measure: str, of: str = "") -> list[str]:
    """The cells of the runs. A measure's name stands in its first row."""
    name = ""
    for cells in found.rows:
        name = cells[0] or name
        if name == measure and cells[1] == of:
            return cells[2:]
    raise AssertionError(f"{measure} {of}: {found.rows}")
