"""What a plan says of data in the repository: rows, duplicates, and what changed since the last run of the file."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from job.dataset import find_source
from job.dataset.scan import digests
from job.errors import JobError
from job.spec import JobSpec
from job.spec.sections import Dataset
from k8s.errors import LauncherError
from push import git
from push.changes import Changed
from push.config import Config
from push.data import Tree, is_brought


def described(repo: Path, one: Changed, spec: JobSpec, base: str, config: Config, folder: Path) -> Iterator[str]:
    """A line on each data set that the commit brings. `base`: the commit that the change is compared with; `folder`:
    where the data lies."""
    last = git.last_change(repo, base, one.path)
    for dataset in spec.datasets:
        if not is_brought(dataset.id, folder):
            continue
        name = Path(dataset.id).relative_to(folder).as_posix()
        rows, broken = digests(find_source(dataset, Path(dataset.id)), spec.chat.system)
        repeats = rows.total() - len(rows)
        line = f"{name}: {rows.total():,} rows, {repeats:,} of them equal to an earlier one, {broken:,} broken"
        before = _before(repo, last, dataset, spec.chat.system, name, config) if last else None
        if not last:
            yield f"{line}; {one.name} has not run before"
        elif before is None:
            yield f"{line}; the last run of {one.name} ({last[:7]}) had no such rows"
        else:
            new, gone = (rows - before).total(), (before - rows).total()
            yield f"{line}; since the last run of {one.name} ({last[:7]}): {new:,} new rows, {gone:,} gone"


def _before(
    repo: Path, commit: str, dataset: Dataset, system: str | None, name: str, config: Config
) -> Counter[bytes] | None:
    """The rows that the file had in an earlier commit, read as the spec reads them now; None if they cannot be."""
    with tempfile.TemporaryDirectory(prefix="finetune-push-") as folder:
        try:
            Tree(repo, commit, config, Path(folder)).write(name)
            return digests(find_source(dataset, Path(folder) / name), system)[0]
        except (JobError, LauncherError):
            return None
