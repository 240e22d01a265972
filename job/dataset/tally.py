"""Counts the rows of a data set and what of them is not trained, logs the first broken ones, and decides whether there
are too many of them."""

from collections import Counter
from collections.abc import Iterable

from job.dataset.rows import AS_UTF_8, NOT_UTF_8, Broken
from job.errors import DataInvalid
from job.logs import Progress, log
from job.spec.places import shown_place
from job.spec.sections import Dataset

_SHOWN = 10
_NAMED = 3
_EVERY = 1000


class Tally:
    """One data set's good and broken rows; logs `data.broken_row` for the first ten, and the progress."""

    def __init__(self, dataset: Dataset) -> None:
        self.good = self.broken = 0
        self._dataset = dataset
        self.left_out: Counter[str] = Counter()
        """Columns that hold something and are not trained, each with the number of its rows."""
        self.first: list[str] = []
        """The first broken rows, each with its file, line and reason."""
        self._progress = Progress("reading rows", dataset.limit, "rows")

    def add_good(self, left_out: Iterable[str] = ()) -> None:
        self.good += 1
        self.left_out.update(left_out)
        if self.good % _EVERY == 0:
            self._progress.update(self.good, broken=self.broken)

    def add_broken(self, file: str, line: int, fault: Broken) -> None:
        self.broken += 1
        if self.broken <= _SHOWN:
            log.warning("data.broken_row", file=file, line=line, why=fault.why)
        if self.broken <= _NAMED:
            self.first.append(f"{file}, line {line}: {fault.why}")

    def judge(self) -> None:
        """Raises DataInvalid if more rows are broken than the spec allows, or none is left."""
        rows, name = self.good + self.broken, shown_place(self._dataset.id)
        first = "; ".join(self.first)
        log.info("data.read", dataset=name, rows=self.good, broken=self.broken)
        if rows == 0:
            raise DataInvalid(f"{name} has no rows", hint="Check the files, dataset.split and dataset.config.")
        if self.broken > rows * self._dataset.max_broken:
            share, allowed = 100 * self.broken / rows, 100 * self._dataset.max_broken
            raise DataInvalid(
                f"{name}: {self.broken} of {rows} rows are broken ({share:.3g} %, allowed {allowed:.3g} %): {first}",
                hint=(AS_UTF_8 if NOT_UTF_8 in first else "")
                + ('Write numbers as text, in quotes: "5". ' if "contains a number, not text" in first else "")
                + "Fix the rows; if the format was detected wrongly, set dataset.format, dataset.text or "
                "dataset.columns; or allow more with dataset.max_broken.",
            )
        if self.good == 0:
            raise DataInvalid(f"{name} has no usable rows: {first}", hint="Fix the rows.")
