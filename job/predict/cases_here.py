"""How many cases `evaluation.tasks` has, and how long they are, if they lie here. For a plan, so it must be quick and
never fail.

A run counts its cases itself, once they are tokens.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path

from job.artifacts import Frozen
from job.errors import JobError
from job.predict.rows_here import texts_of, token_counter
from job.spec import JobSpec
from job.spec.places import Where, data_place
from job.spec.sections import Dataset


class Cases(Frozen):
    """`tokens`: of a case, on average; `how`: how this is known."""

    count: int
    tokens: float
    how: str


ASSUMED = Cases(count=200, tokens=200, how="assumed: they are read in the run")


def cases_here(spec: JobSpec, places: Collection[Where] = ("path", "hub")) -> Cases:
    """What is assumed if they cannot be read from here, or are not in one of the `places`."""
    tasks = spec.evaluation.tasks
    if not tasks or "path" not in places or data_place(tasks.id) != "path":
        return ASSUMED
    count, how = token_counter(spec)
    try:
        lengths = list(_lengths(tasks.dataset, count))
    except (JobError, OSError, ImportError, ValueError, LookupError, TypeError):  # `check` and the run name the fault
        return ASSUMED
    if not lengths:
        return ASSUMED
    return Cases(count=len(lengths), tokens=sum(lengths) / len(lengths), how=f"by all of them, {how}")


def _lengths(dataset: Dataset, count: Callable[[str], float]) -> Iterator[float]:
    from job.dataset.readers import read_rows
    from job.dataset.rows import Broken
    from job.dataset.splits import local_files

    for file in local_files(dataset, Path(dataset.id).expanduser(), dataset.split):
        with closing(read_rows(file)) as rows:
            for _, row in rows:
                if not isinstance(row, Broken):
                    yield sum(map(count, texts_of([row.get("prompt"), row.get("messages")])))
