"""To the Hub: files uploaded ahead as they are made, then one commit with all of them.

What was uploaded ahead shows nowhere before the commit. The Hub knows it by its SHA-256, so a later
attempt that uploads it again sends no bytes. The commit's message carries the run and a digest of the
files: a commit whose reply was lost is found by it and not made twice.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from job.artifacts import Artifact, digest_of
from job.errors import CredentialsRejected, IntegrityViolated
from job.hub.calls import Repo, api, call, endpoint, token
from job.hub.download import HubFile, list_files
from job.logs import Progress, log
from job.publish.place import Item, OnDisk

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

MARK = "finetune-run:"
_IN_MEMORY = 1 << 20
_CONFLICTS = frozenset({409, 412})
"""Someone else has committed since: look again, and commit on top of that."""


class HubPublisher:
    """One repository and the files of one run on their way into it."""

    def __init__(self, repo_id: str, run: str, *, private: bool = True, revision: str = "main") -> None:
        self.repo_id, self._run = repo_id, run
        self._private, self._revision = private, revision
        self._repo = Repo(id=repo_id)
        self._operations: dict[str, CommitOperationAdd] = {}

    def check_write(self) -> None:
        """Proves write access before any GPU time: creates the repository and the branch where they are missing.

        `create_repo` says nothing about the rights to a repository that exists, so a file is announced (and
        never sent), which the Hub allows only to those who may write. Raises CredentialsRejected.
        """
        if token() is None:
            raise CredentialsRejected(
                f"publish.hub: there is no token to write to {self.repo_id} with",
                hint="Set HF_TOKEN (or HF_TOKEN_PATH to a file that holds it) to a token with write access.",
            )
        who = call("find out whose token may write to", self._repo, lambda: api().whoami())
        if _role(who) == "read":
            raise CredentialsRejected(
                f"publish.hub: the token of {who.get('name')} may only read; {self.repo_id} cannot be written with it",
                hint=f"Make a token with write access at {endpoint()}/settings/tokens.",
            )
        if not call("look for", self._repo, lambda: api().repo_exists(self.repo_id)):
            call("create", self._repo, lambda: api().create_repo(self.repo_id, private=self._private, exist_ok=True))
        if self._revision != "main":
            branch = self._revision
            call(
                "make a branch of", self._repo, lambda: api().create_branch(self.repo_id, branch=branch, exist_ok=True)
            )
        self._announce()
        log.info("hub.write_access", repo=self.repo_id, account=who.get("name"), revision=self._revision)

    def _announce(self) -> None:
        from huggingface_hub import CommitOperationAdd

        probe = CommitOperationAdd("finetune-run.txt", b"write access")
        call("write to", self._repo, lambda: self._upload(probe))

    @property
    def url(self) -> str:
        return f"hf://{self.repo_id}"

    def send_ahead(self, folder: Path, artifacts: list[Artifact], names: dict[str, str]) -> None:
        for item in artifacts:
            self.preupload(folder / item.path, names[item.path])

    def fill(self, items: list[Item], on_disk: OnDisk) -> None:
        """What this process has sent ahead is not sent again."""
        for item in items:
            if item.name not in self._operations:
                with on_disk(item) as path:
                    self.preupload(path, item.name)

    def finish(self, manifest: bytes, count: int, title: str) -> str | None:
        """The one commit."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest.json"
            path.write_bytes(manifest)
            self.preupload(path, path.name)
        commit = self.commit(title)
        log.info("publish.done", place=self.url, commit=commit, files=count)
        return commit

    def preupload(self, path: Path, name: str) -> None:
        """Uploads one file ahead; `path` is not needed afterwards. Raises as `calls.call` does."""
        operation = _operation(path, name)
        log.info("hub.upload", file=name, size=path.stat().st_size, repo=self.repo_id)
        call(f"upload {name} to", self._repo, lambda: self._upload(operation))
        if operation._upload_mode != "lfs":
            operation.path_or_fileobj = path.read_bytes()
        self._operations[name] = operation

    def _upload(self, operation: "CommitOperationAdd") -> None:
        api().preupload_lfs_files(self.repo_id, [operation], revision=self._revision)

    def commit(self, message: str) -> str:
        """One commit with every file that was uploaded ahead; gives its id.

        Made once for a run and its files, however often it is asked for and whatever replies are lost.
        Raises IntegrityViolated where the commit does not hold what was sent, else as `calls.call`.
        """
        files = sorted((name, one.upload_info.sha256.hex()) for name, one in self._operations.items())
        mark = f"{MARK} {self._run} {digest_of(files)}"
        found = call("commit to", self._repo, lambda: self._commit_once(message, mark), also_on=_CONFLICTS)
        self._verify(found)
        return found

    def _commit_once(self, message: str, mark: str) -> str:
        client = api()
        commits = client.list_repo_commits(self.repo_id, revision=self._revision)
        for commit in commits:
            if mark in commit.message.splitlines():
                log.info("hub.committed_before", repo=self.repo_id, commit=commit.commit_id)
                return str(commit.commit_id)
        made = client.create_commit(
            self.repo_id,
            list(self._operations.values()),
            commit_message=message,
            commit_description=mark,
            revision=self._revision,
            parent_commit=commits[0].commit_id if commits else None,
        )
        return str(made.oid)

    def _verify(self, commit: str) -> None:
        """Compares the commit's files with what was sent, by size and hash."""
        there = {file.path: file for file in list_files(self.repo_id, commit)}
        for name, operation in self._operations.items():
            sent, found = operation.upload_info, there.get(name)
            if found is not None and found.size == sent.size and _same(found, sent.sha256.hex(), operation):
                continue
            what = "is missing" if found is None else "is not what was sent"
            raise IntegrityViolated(
                f"{name} {what} in commit {commit} of {self._repo}",
                hint="Someone else may write to this repository; start it again, or name another.",
            )


def _role(who: dict[str, Any]) -> str | None:
    """read, write or fineGrained."""
    access = (who.get("auth") or {}).get("accessToken") or {}
    role: str | None = access.get("role")
    return role


def _same(found: HubFile, sha256: str, operation: "CommitOperationAdd") -> bool:
    """By SHA-256 for an LFS file, by git's hash for a small one."""
    return found.sha256 == sha256 if found.sha256 else found.git_id == _git_id(operation)


def _git_id(operation: "CommitOperationAdd") -> str:
    content = operation.path_or_fileobj
    assert isinstance(content, bytes)
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _operation(path: Path, name: str) -> "CommitOperationAdd":
    """The client's own description of an upload, which tells its progress where bytes are sent from a file."""
    from huggingface_hub import CommitOperationAdd

    size = path.stat().st_size

    class Told(CommitOperationAdd):
        @contextmanager
        def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
            with super().as_file() as file:
                if with_tqdm and size:
                    _count(file, Progress(f"uploading {name} to the Hub", size, "bytes"))
                yield file

    return Told(name, path.read_bytes() if size <= _IN_MEMORY else path)


def _count(file: BinaryIO, progress: Progress) -> None:
    read = file.read

    def counted(size: int = -1) -> bytes:
        block = read(size)
        progress.update(file.tell())
        return block

    file.read = counted  # type: ignore[method-assign]
