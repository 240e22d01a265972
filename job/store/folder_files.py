"""How a store in a folder writes files that several pods share.

A file is written beside its place under a temporary name, synced, and renamed. `if_absent` uses link()
instead of the rename, which the file system refuses if the name is taken. `if_match` holds a lock on a
file beside the object (flock; on NFS 4 the server keeps it), so pods that share the folder exclude each other.
`if_absent` does the same on file systems without links.
"""

import errno
import fcntl
import glob
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from job.store.base import Conflict

HIDDEN = re.compile(r"\..+\.([0-9a-f]{16}\.tmp|lock)$")
"""Names that are not keys: temporary files, and files that are only locked."""
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


def locks_exclude(path: Path) -> bool:
    """Whether a second lock on a file has to wait for the first."""
    with path.open("wb") as first, path.open("rb") as second:
        try:
            if _lock(first):
                _lock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Excludes other conditional writers of a file."""
    with path.with_name(f".{path.name}.lock").open("ab") as file:
        _lock(file)
        yield


@contextmanager
def write_beside(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
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


def link(temporary: Path, path: Path) -> bool:
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


def sync_and_forget(descriptor: int) -> None:
    """Syncs a file and drops it from the page cache, so that the next read comes from the disk."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
