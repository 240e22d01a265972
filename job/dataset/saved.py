"""Folders that the library `datasets` saved: `Dataset.save_to_disk`, and `DatasetDict.save_to_disk` for several splits.

<folder>/dataset_dict.json                          of several splits
<folder>/[<split>/]state.json                       names the Arrow files
<folder>/[<split>/]data-00000-of-00001.arrow
<folder>/[<split>/]cache-….arrow                    what `map` keeps for itself: not data
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from job.dataset.rows import listed
from job.errors import DataInvalid

_SPLITS, _STATE = "dataset_dict.json", "state.json"
NOT_ROWS = r"(cache-.*|tmp.*|.*indices.*)\.arrow"


def companions(names: Iterable[str]) -> list[str]:
    """The files that say which Arrow files belong together."""
    return [name for name in names if PurePosixPath(name).name in (_SPLITS, _STATE)]


def saved_splits(data: list[str], names: list[str]) -> dict[str, list[str]]:
    """Split -> its Arrow files. Empty if nothing here was saved with several splits."""
    tops = {PurePosixPath(name).parent for name in names if PurePosixPath(name).name == _SPLITS}
    found: dict[str, list[str]] = {}
    for name in map(PurePosixPath, data):
        if name.suffix == ".arrow" and name.parent.parent in tops and name.parent != name.parent.parent:
            found.setdefault(name.parent.name, []).append(str(name))
    return found


def check_whole(path: Path, files: Iterable[str]) -> None:
    """Raises DataInvalid if an Arrow file is missing, or the rows are chosen by an index that is not read."""
    held = [name for name in files if name.endswith(".arrow")]
    for folder in sorted({PurePosixPath(name).parent for name in held}):
        state = path / folder / _STATE
        if not state.is_file():
            continue
        try:
            told = json.loads(state.read_text(encoding="utf-8"))
            wanted = [str(folder / part["filename"]) for part in told["_data_files"]]
            indexed = bool(told.get("_indices_data_files"))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DataInvalid(
                f"{folder / _STATE} cannot be read, which names the Arrow files of this folder",
                hint="Save the data set again with save_to_disk.",
            ) from error
        if missing := [name for name in wanted if name not in held]:
            raise DataInvalid(
                f"the folder {path.name} is not whole: {listed(missing, 5)} is missing, of {len(wanted)} Arrow files",
                hint="Copy the whole folder.",
            )
        if indexed:
            raise DataInvalid(
                f"{folder / _STATE}: the rows are chosen by an index of an old release of datasets, which is not read",
                hint="Load it and save it again: datasets.load_from_disk(FOLDER).flatten_indices().save_to_disk(NEW).",
            )


def is_row_file(name: str) -> bool:
    """Whether an Arrow file holds rows, by its name."""
    return re.fullmatch(NOT_ROWS, PurePosixPath(name).name) is None
