"""A store in a folder: a PVC, a disk, a network file system. How files are written: job/store/folder_files.py."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from job.artifacts import Artifact, check_name, sha256_of
from job.errors import Bug, CredentialsRejected, IntegrityViolated, NotFound, StorageFailed
from job.store.base import BLOCK, Conflict, Head, Progress, check_condition, receive_file
from job.store.folder_files import HIDDEN, hold_lock, link, locks_exclude, sync_and_forget, write_beside


class FolderStore:
    """`job.store.base.Store` in a folder, which is created at the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.url = str(self.root)
        self.conditional: bool | None = None

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        path = self._path(key)
        with _translated(path), write_beside(path) as (temporary, file):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if if_absent and link(temporary, path):
                pass
            elif if_absent or if_match is not None:
                with hold_lock(path):
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
        with path.open("rb") as source, _translated(target), write_beside(target) as (temporary, file):
            digest, done = hashlib.sha256(), 0
            while block := source.read(BLOCK):
                file.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    progress(done)
            file.flush()
            sync_and_forget(file.fileno())
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
                if not HIDDEN.match(name)
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
            self.conditional = self.conditional and locks_exclude(self.root / folder / "lock")
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
