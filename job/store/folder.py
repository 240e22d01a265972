"""A store in a folder: a PVC, a disk, a network file system.

A file is written beside its place under a temporary name, synced, and renamed. `if_absent` uses link()
instead of the rename, which the file system refuses if the name is taken. `if_match` holds a lock on a
file beside the object (flock; on NFS 4 the server keeps it), so pods that share the folder exclude each other.
`if_absent` does the same on file systems without links.
"""

import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

from job.artifacts import Artifact, check_name, sha256_of
from job.errors import Bug, CredentialsRejected, IntegrityViolated, NotFound, StorageFailed
from job.store.base import BLOCK, Conflict, Head, Progress, check_condition, receive_file

_HIDDEN = re.compile(r"\..+\.([0-9a-f]{16}\.tmp|lock)$")
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


class FolderStore:
    """`job.store.base.Store` in a folder, which is created at the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)
        self.conditional: bool | None = None

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        path = self._path(key)
        with _translated(path), _written(path) as (temporary, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if if_absent and _linked(temporary, path):
                pass
            elif if_absent or if_match is not None:
                with _locked(path):
                    check_condition(key, data, self.get(key), if_absent, if_match)
                    temporary.replace(path)
            else:
                temporary.replace(path)
        return _tag(data)

    def get(self, key: str) -> tuple[bytes, str] | None:
        path = self._path(key)
        with _translated(path):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        return data, _tag(data)

    def start_of(self, key: str, count: int) -> bytes:
        path = self._path(key)
        with _translated(path):
            try:
                with path.open("rb") as file:
                    return file.read(count)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return b""

    def put_file(self, key: str, path: Path, progress: Progress | None = None) -> Artifact:
        target = self._path(key)
        if target.is_file() and target.stat().st_size == path.stat().st_size:
            found = sha256_of(target)
            if found == sha256_of(path):
                return Artifact(path=key, sha256=found, size=target.stat().st_size)
        with path.open("rb") as source, _translated(target), _written(target) as (temporary, file):
            digest, done = hashlib.sha256(), 0
            while block := source.read(BLOCK):
                file.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    progress(done)
            file.flush()
            _sync_and_forget(file.fileno())
            # Read it again from the disk, to verify what the disk really holds.
            if sha256_of(temporary) != digest.hexdigest():
                raise IntegrityViolated(f"{target} does not hold what was written to it", hint="Check the disk.")
            temporary.replace(target)
        return Artifact(path=key, sha256=digest.hexdigest(), size=done)

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Progress | None = None) -> None:
        source = self._path(key)
        if not source.is_file():
            raise NotFound(f"{source} is missing")
        receive_file(lambda start: _blocks(source, start), path, expected, progress)

    def measure(self, key: str, progress: Progress | None = None) -> Artifact | None:
        path = self._path(key)
        if not path.is_file():
            return None
        with _translated(path):
            return Artifact(path=key, sha256=sha256_of(path, progress), size=path.stat().st_size)

    def head(self, key: str) -> Head | None:
        path = self._path(key)
        with _translated(path):
            if not path.is_file():
                return None
            found = path.stat()
            return Head(found.st_size, f"{found.st_mtime_ns}-{found.st_ino}")

    def list(self, prefix: str = "") -> Iterator[str]:
        if prefix:
            check_name(prefix, prefix=True)
        top = self.root / prefix.rpartition("/")[0]
        with _translated(top):
            found = [
                (Path(folder) / name).relative_to(self.root).as_posix()
                for folder, _, names in os.walk(top, onerror=_unless_gone)
                for name in names
                if not _HIDDEN.match(name)
            ]
        return iter(sorted(key for key in found if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _translated(path):
            path.unlink(missing_ok=True)

    def delete_prefix(self, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise Bug(f"{prefix!r} does not end in /")
        path = self._path(prefix.rstrip("/"))
        with _translated(path):
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                return

    def probe(self) -> bool:
        folder = f".probe-{secrets.token_hex(8)}"
        key = f"{folder}/probe"
        try:
            self.put(key, b"first", if_absent=True)
            self.conditional = _refuses(self, key, if_absent=True) and _refuses(self, key, if_match="other")
            self.conditional = self.conditional and _locks_exclude(self.root / folder / "lock")
        except StorageFailed as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise CredentialsRejected(
                    f"{self.root} cannot be written to: {cause.strerror}",
                    hint="Give the job's user (or the pod's fsGroup) write access to it, or name another folder.",
                ) from error
            raise
        finally:
            shutil.rmtree(self.root / folder, ignore_errors=True)
        return self.conditional

    def patient_for(self, seconds: float) -> Self:
        return self

    def _path(self, key: str) -> Path:
        """The path of a key. Raises IntegrityViolated if a symbolic link leads out of the store."""
        path = self.root / check_name(key)
        if not path.parent.resolve().is_relative_to(self.root.resolve()) or (
            path.is_symlink() and not path.resolve().is_relative_to(self.root.resolve())
        ):
            raise IntegrityViolated(f"{path} leads out of {self.root}")
        return path


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _refuses(store: FolderStore, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
    try:
        store.put(key, b"second", if_absent=if_absent, if_match=if_match)
    except Conflict:
        return True
    return False


def _locks_exclude(path: Path) -> bool:
    """Whether a second lock on a file has to wait for the first."""
    with path.open("wb") as first, path.open("rb") as second:
        try:
            if _lock(first):
                _lock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Excludes other conditional writers of a file."""
    with path.with_name(f".{path.name}.lock").open("ab") as file:
        _lock(file)
        yield


@contextmanager
def _written(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A temporary file beside `path`, removed at the end; what was renamed or linked from it is synced to the disk.

    Its writer holds a lock on it, so that the next writer can tell which files a killed writer has left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        _remove_if_left(left)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            _lock(file)
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_if_left(path: Path) -> None:
    """Removes a killed writer's file. It must be a minute old: a new file exists for a moment before it is locked."""
    try:
        with path.open("rb") as file:
            old = time.time() - os.fstat(file.fileno()).st_mtime > 60
            if old and _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                path.unlink(missing_ok=True)
    except (FileNotFoundError, BlockingIOError):
        return


def _lock(file: IO[bytes], how: int = fcntl.LOCK_EX) -> bool:
    """Locks an open file. Returns False if the file system has no locks; probe() tests that."""
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def _linked(temporary: Path, path: Path) -> bool:
    """Gives a file its final name unless that is taken. Returns False if the file system has no links.

    Raises Conflict if the name is taken by a file with other content.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        if path.read_bytes() != temporary.read_bytes():
            raise Conflict(path.name) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def _sync_and_forget(descriptor: int) -> None:
    """Syncs a file and drops it from the page cache, so that the next read comes from the disk."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _blocks(path: Path, start: int) -> Iterator[bytes]:
    with _translated(path), path.open("rb") as file:
        file.seek(start)
        while block := file.read(BLOCK):
            yield block


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailed(
            f"{path}: {error.strerror or error}",
            hint="Free space there, or enlarge the volume." if full else "Check the volume and its permissions.",
        ) from error
