"""How each data set is read, and the kind that the rows of all become.

A prompt with its completion becomes a conversation if the model has a chat template, since that is how such a model is
asked; `dataset.format: prompt_completion` keeps it plain text.
"""

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.dataset.heads import is_content
from job.dataset.layouts import Kind, Layout, find_layout
from job.dataset.readers import read_rows
from job.dataset.rows import Broken, kind_name, shown
from job.dataset.splits import local_files
from job.dataset.tally import Tally
from job.dataset.written import written_by
from job.errors import DataInvalid
from job.spec.places import shown_place
from job.spec.sections import Dataset

_HEAD = 20
"""Number of good rows that are read to detect the format."""

_NOTHING: tuple[Any, ...] = (None, "", [], {})

Found = tuple[str, int, dict[str, Any] | Broken]
"""A row with its file's name and its line."""


class Source(Frozen):
    """A data set with its files and how their rows are read."""

    dataset: Dataset
    files: list[Path]
    eval_files: list[Path]
    layout: Layout
    first: dict[str, Any]
    """The first good row."""

    @property
    def name(self) -> str:
        return shown_place(self.dataset.id)

    @property
    def reads(self) -> set[str] | None:
        """The columns that are needed; None for all."""
        return None if self.layout.alone else self._used

    @property
    def _used(self) -> set[str] | None:
        """The columns that are trained; None for all."""
        written = written_by(self.dataset.template)
        return written.reads if written else set(self.layout.columns.values())

    def written(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row, or what `dataset.template` writes from it. Raises Broken."""
        written = written_by(self.dataset.template)
        return written.row(row) if written else row

    def left_out(self, row: dict[str, Any]) -> list[str]:
        """The columns of a row that hold something and are not trained. Raises Broken for content beside the column
        that was taken for the only one with any."""
        if (used := self._used) is None:
            return []
        found = [column for column, value in row.items() if column not in used and value not in _NOTHING]
        content = [column for column in found if self.layout.alone and is_content(row[column])]
        if content:
            (taken,) = used
            raise Broken(f"column {shown(content[0])} holds {kind_name(row[content[0]])} beside {shown(taken)}")
        return found

    @property
    def keeps_pairs(self) -> bool:
        """Whether the spec itself says that its rows are a prompt and a completion."""
        return self.dataset.format == "prompt_completion"


def find_source(dataset: Dataset, path: Path) -> Source:
    """Finds a data set's files and, from its first good rows, how to read them. Raises DataInvalid and NotFound."""
    files = local_files(dataset, path, dataset.split)
    eval_files = local_files(dataset, path, dataset.eval_split) if dataset.eval_split else []
    with closing(rows_of(files, None)) as rows:
        heads = list(islice((row for _, _, row in rows if isinstance(row, dict)), _HEAD))
    if not heads:
        _refuse_all(dataset, files)
    name = shown_place(dataset.id)
    layout = find_layout(dataset, _written(dataset, heads, name), name)
    return Source(dataset=dataset, files=files, eval_files=eval_files, layout=layout, first=heads[0])


def _written(dataset: Dataset, heads: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The first rows, or what `dataset.template` writes from them. Raises SpecInvalid for a column that no row has, and
    DataInvalid if it writes none of these rows."""
    written = written_by(dataset.template)
    if written is None:
        return heads
    written.check(dict.fromkeys(column for row in heads for column in row), name)
    found, why = [], ""
    for row in heads:
        try:
            found.append(written.row(row))
        except Broken as broken:
            why = why or broken.why
    if not found:
        raise DataInvalid(f"{name}: none of the first rows can be written: {why}", hint="Change dataset.template.")
    return found


def rows_of(files: list[Path], columns: set[str] | None) -> Generator[Found, None, None]:
    """The rows of all files."""
    for file in files:
        with closing(read_rows(file, columns)) as rows:
            for line, row in rows:
                yield file.name, line, row


def _refuse_all(dataset: Dataset, files: list[Path]) -> None:
    """Raises DataInvalid for a data set without a good row, with the first errors."""
    tally = Tally(dataset)
    for file, line, row in rows_of(files, None):
        if isinstance(row, Broken):
            tally.add_broken(file, line, row)
    tally.judge()


def common_kind(sources: list[Source], *, has_template: bool) -> Kind:
    """The kind that all data sets can become without loss. Raises DataInvalid with two that do not fit together.

    One that is a conversation already makes all of them conversations. Among pairs alone, one that the spec wants kept
    as pairs keeps them all.
    """
    by_kind = {source.layout.kind: source for source in sources}
    if "text" in by_kind and len(by_kind) > 1:
        text = by_kind.pop("text")
        kind, other = by_kind.popitem()
        raise DataInvalid(
            f"the data sets do not fit together: {text.name} is plain text, {other.name} is {kind.replace('_', '/')}",
            hint="Set dataset.format, or dataset.text, so that all are of the same kind.",
        )
    if list(by_kind) != ["prompt_completion"]:
        return "messages" if "messages" in by_kind else "text"
    return "messages" if has_template and not any(source.keeps_pairs for source in sources) else "prompt_completion"
