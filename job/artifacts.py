"""Files with their hashes, names that come from elsewhere, and writing files atomically."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from job import strict_json
from job.errors import DataInvalid, IntegrityViolated, JobError, StorageFailed


class Frozen(BaseModel):
    """Immutable base of all data classes: they hold paths and numbers, never models."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


def json_object(text: str, what: str, error: type[JobError] = DataInvalid) -> dict[str, Any]:
    """A JSON object of somebody else's. Raises `error` with what it is, if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise error(f"{what} is not JSON: {fault}") from fault
    if not isinstance(found, dict):
        raise error(f"{what} is not a JSON object")
    return found


def check_name(name: str, *, prefix: bool = False) -> str:
    """The name, if a file of that name stays in its folder or store. Every name that a store, a repository or a
    manifest gives goes through here before it becomes a path.

    Raises IntegrityViolated for `..`, absolute paths, backslashes and control characters. `prefix`: a last `/` is
    allowed.
    """
    parts = name.split("/")
    if prefix and parts[-1] == "":
        parts.pop()
    if any(part in ("", ".", "..") for part in parts) or re.search(r"[\x00-\x1f\x7f\\]", name):
        raise IntegrityViolated(f"{name!r} is not the name of a file in a folder: it would leave its folder")
    return name


def stays(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder when links are followed. In a snapshot of the Hub's own cache, whose files are
    links, a path may also be a blob of the same repository."""
    target, top = path.resolve(), folder.resolve()
    if target.is_relative_to(top):
        return True
    return top.parent.name == "snapshots" and target.parent == top.parents[1] / "blobs"


class Artifact(Frozen):
    """A file by its name under the folder it belongs to, its SHA-256 (hex) and its size in bytes."""

    path: str
    sha256: str
    size: int

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        return check_name(path)


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file, in hex. `progress` is called with the bytes read so far."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            done += len(block)
            if progress:
                progress(done)
    return digest.hexdigest()


def artifact(folder: Path, name: str, progress: Callable[[int], None] | None = None) -> Artifact:
    """Hashes one file of a folder. `progress` is called with the bytes read so far."""
    path = folder / name
    return Artifact(path=name, sha256=sha256_of(path, progress), size=path.stat().st_size)


def names_below(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def artifacts_below(folder: Path) -> list[Artifact]:
    """Every file below a folder, hashed, by name."""
    return [artifact(folder, name) for name in names_below(folder)]


def digest_of(value: Any) -> str:
    """A short hash of any JSON value, for keys (32 hex digits)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside `path`, and renames it to `path` if the block succeeds.

    Raises StorageFailed if the disk is full or refuses the write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageFailed(
            f"cannot write {path}: {error.strerror or error}",
            hint="Free space there, or set FINETUNE_WORK to another folder.",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, readable, with sorted keys."""
    with written_whole(path) as temporary:
        temporary.write_text(
            strict_json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )
