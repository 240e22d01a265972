"""The files of a commit on the Hub, as what lies at a place from before (`job.publish.earlier.There`)."""

import hashlib
import tempfile
from pathlib import Path

from job.hub.download import list_files, read_bytes
from job.run.records import PublishedFile


class Committed:
    """One commit. A file that git holds itself is read for its SHA-256; the Hub knows that of an LFS file."""

    def __init__(self, repo_id: str, commit: str) -> None:
        self._repo_id, self._commit = repo_id, commit
        self._files = {file.path: file for file in list_files(repo_id, commit)}

    def read(self, name: str) -> bytes | None:
        if name not in self._files:
            return None
        with tempfile.TemporaryDirectory() as folder:
            return read_bytes(self._repo_id, self._commit, self._files[name], Path(folder))

    def has(self, file: PublishedFile) -> bool:
        found = self._files.get(file.name)
        return found is not None and found.size == file.size

    def is_same(self, file: PublishedFile) -> bool:
        found = self._files[file.name]
        sha256 = found.sha256 or hashlib.sha256(self.read(file.name) or b"").hexdigest()
        return sha256 == file.sha256
