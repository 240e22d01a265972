"""Data that a push brings: files of its own commit, read by git as the commit has them, never those checked out."""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from job import logs
from job.check import look_at
from job.errors import JobError, SpecInvalid
from job.local_files import moved, places_here
from job.spec import JobSpec
from job.spec.places import Where
from k8s.errors import LauncherError
from k8s.manifest.parse import size
from push import git
from push.changes import Changed
from push.config import Config
from push.escape import shown

_LFS = b"version https://git-lfs"
_FILES = ("100644", "100755")
Specs = list[tuple[Changed, JobSpec]]


def in_repository(place: str) -> str | None:
    """The path below the repository's top, if a place is relative; None for one of a machine."""
    path = PurePosixPath(place)
    return None if path.is_absolute() or place.startswith("~") else str(path)


def is_allowed(place: str, config: Config) -> bool:
    """Whether a relative path is below one of the folders for data."""
    parts = PurePosixPath(place).parts
    folders = (PurePosixPath(one).parts for one in config.data_folders)
    return ".." not in parts and any(parts[: len(own)] == own and len(parts) > len(own) for own in folders)


@contextmanager
def brought(repo: Path, commit: str, specs: Specs, config: Config | None) -> Iterator[tuple[Specs, Path]]:
    """The specs with the commit's data as files of a folder, which exists as long as the block lasts.

    Without a configuration nothing is read. Raises SpecInvalid with every fault of all of them.
    """
    with tempfile.TemporaryDirectory(prefix="finetune-push-") as name:
        folder = Path(name).resolve()
        if config is None or "repository" not in config.sources:
            yield specs, folder
            return
        logs.configure(to_stdout=False)
        found, faults, tree = [], [], Tree(repo, commit, config, folder)
        for one, spec in specs:
            try:
                there = tree.bring(spec)
                list(look_at(there, [place for place in places_here([there]) if is_brought(place, folder)]))
                found.append((one, there))
            except (JobError, LauncherError) as error:
                faults.append(f"{one.name}: {str(error).replace(f'{folder}/', '')}")
        if faults:
            raise SpecInvalid("\n".join(faults), hint="Nothing was sent.")
        yield found, folder


def is_brought(place: str, folder: Path) -> bool:
    return Path(place).is_relative_to(folder)


def seen_from_here(spec: JobSpec, folder: Path) -> Collection[Where]:
    """Where rows may be looked at: on the Hub, and in files if all of them are the commit's."""
    found: list[Where] = ["hub"]
    return [*found, "path"] if all(is_brought(one, folder) for one in places_here([spec])) else found


class Tree:
    """A commit's files, of which so many bytes may be read."""

    def __init__(self, repo: Path, commit: str, config: Config, folder: Path) -> None:
        self._repo, self._folder = repo, folder
        self._files = git.tree(repo, commit)
        self._left = self._most = size(config.max_data, "max_data")

    def bring(self, spec: JobSpec) -> JobSpec:
        """The spec, with what it names in the commit as files of the folder. Raises SpecInvalid, SettingsInvalid."""
        names = {place: name for place in places_here([spec]) if (name := in_repository(place))}
        for name in names.values():
            self.write(name)
        return moved(spec, {place: str(self._folder / name) for place, name in names.items()})

    def write(self, name: str) -> None:
        """A file, or all below a folder."""
        path = os.fsencode(name)
        wanted = {one: entry for one, entry in self._files.items() if one == path or one.startswith(path + b"/")}
        if not wanted:
            raise SpecInvalid(f"{name} is not in the commit", hint="Commit it with the spec.")
        for one, entry in wanted.items():
            target = self._folder / os.fsdecode(one)
            if target.exists():
                continue
            if entry.mode not in _FILES:
                raise SpecInvalid(f"{shown(one)} is not an ordinary file", hint="A link or a submodule cannot be data.")
            self._left -= entry.size
            if self._left < 0:
                raise SpecInvalid(
                    f"the data of this push is larger than {self._most / 1e6:,.0f} MB (max_data)",
                    hint="Put it on the Hub or into S3, and name it there.",
                )
            content = git.blob(self._repo, entry.identity, self._most)
            if content.startswith(_LFS):
                raise SpecInvalid(
                    f"{shown(one)} is a Git LFS pointer: the commit does not have the data itself",
                    hint="Put it on the Hub or into S3, and name it there; or commit it without LFS "
                    f"(git lfs untrack {shown(one)}).",
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
