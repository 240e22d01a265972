"""The run store, and every place where files are published: a folder or an S3 prefix, the same verbs.

An object is visible under its key only when it is complete, and every file is verified by its SHA-256. A key
is a relative path with `/` between its parts. Files named like `.NAME.<16 hex>.tmp` are being written, or were left by
a writer that was killed; no method shows them.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from job.artifacts import Artifact, sha256_of
from job.errors import Bug, IntegrityViolated, StorageFailed

Progress = Callable[[int], None]
"""Called with the number of bytes done so far."""

BLOCK = 1 << 22


class Conflict(Exception):
    """The condition of a write is not met: someone else has written there."""


class Head(NamedTuple):
    """`size` in bytes; `tag` changes whenever the object does."""

    size: int
    tag: str


class Store(Protocol):
    """The operations that a folder and an S3 prefix both offer.

    Every method raises RemoteUnavailable (after waiting), StorageFailed, NotFound (no such bucket) or
    CredentialsRejected. Credentials that were accepted before and are refused now raise RemoteUnavailable: they have
    expired, and a new attempt gets new ones.
    """

    url: str
    conditional: bool | None
    """Whether conditional writes are honoured; None until probe() has tried. If they are not, conditions are checked
    before the write, which is enough as long as there is only one writer."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Writes a small object and returns its version tag.

        Raises Conflict if the object exists (with `if_absent`) or its tag is not `if_match`. An object with the same
        bytes is not a conflict: an earlier write whose reply was lost leaves that.
        """

    def get(self, key: str) -> tuple[bytes, str] | None:
        """A small object and its version tag, or None if there is none."""

    def start_of(self, key: str, count: int) -> bytes:
        """The first bytes of an object, at most `count`; none if there is none."""

    def put_file(self, key: str, path: Path, progress: Progress | None = None) -> Artifact:
        """Stores a file and verifies it there. A file that is there already, by its hash, is not sent again.

        The artifact's `path` is the key. Raises FileNotFoundError if `path` does not exist, and IntegrityViolated if
        the store does not hold what was sent.
        """

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Progress | None = None) -> None:
        """Downloads a file, complete and verified; continues where an earlier call was cut off.

        Raises NotFound if it does not exist, IntegrityViolated if it differs from `expected` (whose `path` is ignored).
        """

    def measure(self, key: str, progress: Progress | None = None) -> Artifact | None:
        """Reads all of an object to find its size and SHA-256; None if there is none."""

    def head(self, key: str) -> Head | None:
        """An object's size and version tag, or None if there is none."""

    def list(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with a prefix, in order."""

    def delete(self, key: str) -> None:
        """Removes an object. It is not an error if there is none."""

    def delete_prefix(self, prefix: str) -> None:
        """Removes every object whose key begins with a prefix that ends in `/`."""

    def probe(self) -> bool:
        """Tries to write, to read and to write on a condition. Returns whether conditions are honoured.

        Raises CredentialsRejected, NotFound, RemoteUnavailable or StorageFailed if writing fails.
        """

    def patient_for(self, seconds: float) -> Self:
        """The same store, which waits at most `seconds` for a lost connection."""


def check_condition(
    key: str, data: bytes, found: tuple[bytes, str] | None, if_absent: bool, if_match: str | None
) -> None:
    """Raises Conflict if the condition of a write is not met by the object that is there."""
    if if_absent and if_match is not None:
        raise Bug(f"{key}: if_absent and if_match exclude each other")
    if found is not None and found[0] == data:
        return
    if (if_absent and found is not None) or (if_match is not None and (found is None or found[1] != if_match)):
        raise Conflict(key)


def receive_file(
    blocks_from: Callable[[int], Iterator[bytes]], path: Path, expected: Artifact, progress: Progress | None
) -> None:
    """Writes blocks to a file, complete and verified, starting where an earlier call was cut off.

    Until it is complete, it is kept beside `path` under a name that contains its hash. Raises IntegrityViolated, and
    StorageFailed if this disk is full or refuses the write.
    """
    if path.is_file() and path.stat().st_size == expected.size and sha256_of(path) == expected.sha256:
        return
    part = path.with_name(f".{path.name}.{expected.sha256[:16]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        resumed = part.stat().st_size if part.is_file() else 0
        found = _append(blocks_from, part, expected.size, progress)
        if found != expected.sha256 and resumed:
            part.unlink()
            found = _append(blocks_from, part, expected.size, progress)
        if found != expected.sha256:
            part.unlink()
            raise IntegrityViolated(
                f"the copy of {path.name} in the store does not match its SHA-256 {expected.sha256}",
                hint="The store's copy is damaged. Delete it; the next run makes it again.",
            )
        part.replace(path)
    except OSError as error:
        if part.is_file() and error.errno == errno.ENOSPC:
            part.unlink()
        raise StorageFailed(
            f"cannot write {path}: {error.strerror or error}",
            hint="Free space there, or set FINETUNE_WORK to another folder.",
        ) from error


def _append(blocks_from: Callable[[int], Iterator[bytes]], part: Path, size: int, progress: Progress | None) -> str:
    digest, done = hashlib.sha256(), 0
    with part.open("a+b") as file:
        if file.tell() > size:
            file.truncate(0)
        file.seek(0)
        while block := file.read(BLOCK):
            digest.update(block)
            done += len(block)
        if done < size:
            for block in blocks_from(done):
                file.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    progress(done)
                if done > size:
                    return "longer than expected"
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
