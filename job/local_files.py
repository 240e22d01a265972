"""Files and folders of this machine that a spec names: what of them a run reads, their hashes, and the spec that names
them where they are taken to.

A run elsewhere finds nothing here, so what lies here goes along with it (job/fetch/inputs.py has the layout).
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from job.artifacts import Artifact, Frozen, sha256_of, stays
from job.errors import IntegrityViolated, NotFound
from job.fetch.inputs import as_list, list_name
from job.redaction import secret_values
from job.spec import JobSpec
from job.spec.places import INPUTS, data_place, file_place, imatrix_file, model_place
from job.spec.sections import Dataset

OnProgress = Callable[[str, int, int], None]
"""Called with a file's name, bytes done, and bytes in total."""
_SECRETS = re.compile(
    r"\.env(\..+)?|\.netrc|\.npmrc|\.pypirc|\.git-credentials|\.dockercfg|credentials(\.json)?|id_(rsa|dsa|ecdsa|ed25519)"
    r"|kubeconfig|.+\.(pem|key|p12|pfx|jks|kdbx)",
    re.I,
)
"""Names of files that hold keys and passwords."""
_UNREAD = {".git", ".cache"}
"""Folders that no run reads."""
_SMALL = 1 << 20
"""Bytes of a file that is searched for this machine's secrets."""


class Input(Frozen):
    """A file or folder that goes along. `place`: as the spec names it; `name`: as it is called below its digest;
    `files`: what is read of it, by their names in the folder, or the file itself under `name`."""

    place: str
    path: Path
    name: str
    digest: str
    files: tuple[Artifact, ...]
    is_folder: bool

    @property
    def key(self) -> str:
        """Where it lies in a store."""
        return f"{INPUTS}/{self.digest}/{self.name}"

    @property
    def size(self) -> int:
        return sum(one.size for one in self.files)

    @property
    def list_key(self) -> str:
        """Where the list beside a folder lies."""
        return list_name(self.key)

    @property
    def listed(self) -> bytes:
        """That list."""
        return as_list({one.path: one.sha256 for one in self.files})

    def sources(self) -> Iterator[tuple[str, Path, Artifact]]:
        """Each file with its key in a store and its path here."""
        for one in self.files:
            below = f"/{one.path}" if self.is_folder else ""
            yield self.key + below, self.path / one.path if self.is_folder else self.path, one


class _Named(NamedTuple):
    """A place in a spec. `of`: the data set, if it is one."""

    keys: tuple[str | int, ...]
    place: str
    of: Dataset | None = None


def _named(spec: JobSpec) -> Iterator[_Named]:
    """Every place of this machine that a run of the spec reads."""
    for key, place in (("id", spec.model.id), ("adapter", spec.model.adapter)):
        if place and model_place(place) == "path":
            yield _Named(("model", key), place)
    for number, one in enumerate(spec.datasets):
        if data_place(one.id) == "path":
            yield _Named(("dataset", number, "id"), one.id, one)
    judged = {"text": spec.evaluation.text, "tasks": spec.evaluation.tasks} if spec.evaluation.judge else {}
    for name, rows in judged.items():
        if rows and data_place(rows.id) == "path":
            yield _Named(("evaluation", name, "id"), rows.id, rows.dataset)
    tasks = spec.evaluation.tasks
    if tasks and data_place(tasks.id) == "path":
        yield _Named(("evaluation", "tasks", "id"), tasks.id, tasks.dataset)
    matrix = imatrix_file(spec.export.imatrix)
    if matrix and file_place(matrix) == "path":
        yield _Named(("export", "imatrix"), matrix)


def places_here(specs: Sequence[JobSpec]) -> list[str]:
    """The places of this machine that the specs name, each once."""
    return list(dict.fromkeys(one.place for spec in specs for one in _named(spec)))


def inputs_of(specs: Sequence[JobSpec], places: Sequence[str], on_progress: OnProgress | None = None) -> list[Input]:
    """What is read of each of these places, hashed. Of runs that read different parts of a folder, all of them.

    Raises NotFound, and IntegrityViolated for links that lead out of a folder, devices and files that look like
    secrets, beside what the job itself refuses.
    """
    wanted: dict[str, dict[str, None]] = {}
    for spec in specs:
        for one in _named(spec):
            if one.place in places:
                wanted.setdefault(one.place, {}).update(dict.fromkeys(_files(one, spec)))
    return [_input(place, list(names), on_progress) for place, names in wanted.items()]


def _files(one: _Named, spec: JobSpec) -> list[str]:
    """The names of the files in a folder that a run reads; none for a file."""
    from job.dataset import files_wanted
    from job.fetch import safety
    from job.fetch.listing import Listing
    from job.fetch.model import files_of

    path = Path(one.place).expanduser()
    kind = _kind(path)
    if stat.S_ISREG(kind):
        return []
    if not stat.S_ISDIR(kind):
        raise IntegrityViolated(f"{one.place} is neither a file nor a folder", hint="Name a file or a folder.")
    names = _safe_names(path, one.place)
    if one.of is None:
        is_adapter = one.keys[-1] == "adapter"
        safety.check_folder(path, one.place, adapter=is_adapter, trained=spec.training is not None)
        return files_of(Listing.of(path, one.place), adapter=is_adapter)
    card = path / "README.md"
    readme = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    return [*files_wanted(names, one.of, readme), *(["README.md"] if readme is not None else [])]


def _kind(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise NotFound(
            f"{path}: {error.strerror or error}", hint="Correct the path; a Hub id is written owner/name."
        ) from error


def _safe_names(folder: Path, place: str) -> list[str]:
    """Every file in a folder. Raises IntegrityViolated for what must not leave this machine."""
    found = []
    for top, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _UNREAD]
        for name in sorted([*folders, *names]):
            path = Path(top) / name
            inside = path.relative_to(folder).as_posix()
            if path.is_symlink() and not (path.exists() and stays(path, folder)):
                raise IntegrityViolated(f"{place}: {inside} is a link that leaves the folder")
            if not path.is_file() and not path.is_dir():
                raise IntegrityViolated(f"{place}: {inside} is neither a file nor a folder", hint="Move it elsewhere.")
            if path.is_file():
                if _SECRETS.fullmatch(name):
                    raise IntegrityViolated(f"{place}: {inside} looks like a secret", hint="Move it out of the folder.")
                found.append(inside)
    return found


def _input(place: str, names: list[str], on_progress: OnProgress | None) -> Input:
    path = Path(place).expanduser()
    # `..` and links here are nobody's business elsewhere; an address has no blanks, ? and #.
    name = re.sub(r"[^\w.-]+", "-", path.resolve().name).lstrip(".-") or "input"
    if not names:
        only = _hashed(path, name, on_progress)
        return Input(place=place, path=path, name=name, digest=only.sha256, files=(only,), is_folder=False)
    files = tuple(_hashed(path / one, one, on_progress) for one in sorted(names))
    digest = hashlib.sha256(as_list({one.path: one.sha256 for one in files})).hexdigest()
    return Input(place=place, path=path, name=name, digest=digest, files=files, is_folder=True)


def _hashed(path: Path, name: str, on_progress: OnProgress | None) -> Artifact:
    size = path.stat().st_size
    if size <= _SMALL and any(secret.encode() in path.read_bytes() for secret in secret_values()):
        raise IntegrityViolated(f"{path} contains a secret of this machine's environment", hint="Remove it there.")
    told = (lambda done: on_progress(f"hashing {name}", done, size)) if on_progress else None
    return Artifact(path=name, sha256=sha256_of(path, told), size=size)


def moved(spec: JobSpec, to: Mapping[str, str]) -> JobSpec:
    """The spec with other places. `to`: by the places that it names now."""
    data = spec.model_dump(mode="json", exclude_unset=True)
    for one in _named(spec):
        if one.place in to:
            _put(data, one.keys, to[one.place])
    return JobSpec.model_validate(data)


def _put(data: Any, keys: tuple[str | int, ...], value: str) -> None:
    for key in keys[:-1]:
        data = data if isinstance(key, int) and isinstance(data, dict) else data[key]  # one data set is no list
    data[keys[-1]] = value
