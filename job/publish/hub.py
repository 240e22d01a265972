"""Publishes to the Hub: files are uploaded as they are made, then one commit contains all of them.

Uploaded files are not visible before the commit. The Hub identifies them by SHA-256, so a later attempt does not
send them again. The commit's message contains the run and a digest of its artifacts, so a run makes one commit, even if
a reply is lost or an attempt ends before the run's manifest is in the store. Manifest and report differ in each
attempt, so they are not part of that digest.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from job.artifacts import Artifact, digest_of
from job.errors import CredentialsRejected, IntegrityViolated, SpecInvalid
from job.hub.calls import Repo, api, call, endpoint, token
from job.hub.download import HubFile, list_files
from job.logs import Progress, log
from job.publish.committed import Committed
from job.publish.earlier import CARD, MANIFEST, Beside, beside
from job.publish.place import Item, OnDisk
from job.run.records import Manifest
from job.spec.sections import Hub

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

MARK = "finetune-run:"
_IN_MEMORY = 1 << 20
_CONFLICTS = frozenset({409, 412})
"""HTTP statuses if someone else has committed since: read the branch again, and commit on top of it."""


class HubPublisher:
    """One repository, and the files of one run to publish there."""

    def __init__(self, hub: Hub, run: str, *, replace: bool = False) -> None:
        self.repo_id, self._revision = hub.repo_id, hub.revision
        self._hub, self._run, self._replace = hub, run, replace
        self._repo = Repo(id=hub.repo_id)
        self._operations: dict[str, CommitOperationAdd] = {}
        self._documents = {CARD, MANIFEST}

    def check_write(self) -> None:
        """Checks write access before any GPU time is spent. Creates the repository and the branch if they are missing.

        `create_repo` does not check the rights to an existing repository, so a file is announced (and never sent),
        which the Hub allows only with write access. Raises CredentialsRejected.
        """
        if token() is None:
            raise CredentialsRejected(
                f"publish.hub: there is no token to write to {self.repo_id}",
                hint="Set HF_TOKEN (or HF_TOKEN_PATH to a file that holds it) to a token with write access.",
            )
        who = call("find the owner of the token to write to", self._repo, lambda: api().whoami())
        if _role(who) == "read":
            raise CredentialsRejected(
                f"publish.hub: the token of {who.get('name')} can only read, so it cannot write to {self.repo_id}",
                hint=f"Create a token with write access at {endpoint()}/settings/tokens.",
            )
        if not call("look for", self._repo, lambda: api().repo_exists(self.repo_id)):
            private = self._hub.private
            call("create", self._repo, lambda: api().create_repo(self.repo_id, private=private, exist_ok=True))
        if self._revision != "main":
            branch = self._revision
            call(
                "create a branch in",
                self._repo,
                lambda: api().create_branch(self.repo_id, branch=branch, exist_ok=True),
            )
        self._announce()
        self._check_private()
        log.info("hub.write_access", repo=self.repo_id, account=who.get("name"), revision=self._revision)

    def _check_private(self) -> None:
        """Raises SpecInvalid if what should be private would be published to the world: held-out prompts and answers
        are part of it."""
        if not self._hub.private or self._hub.public_ok:
            return
        info = call("look at", self._repo, lambda: api().repo_info(self.repo_id))
        if not info.private:
            raise SpecInvalid(
                f"publish.hub.private is true, but {self.repo_id} is a public repository: everyone could read the "
                "files, with prompts and answers of held-out rows",
                hint="Name another repository, make this one private, or set publish.hub.public_ok: true to publish "
                "there all the same.",
            )

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
        """Files that this process has sent ahead are not sent again."""
        self._check_private()  # it may have become public since
        self._documents |= {item.name for item in items if item.kind == "document"}
        for item in items:
            if item.name not in self._operations:
                with on_disk(item) as path:
                    self.preupload(path, item.name)

    def finish(self, manifest: Manifest, card: bytes, title: str) -> str | None:
        """Makes the single commit."""

        def at(head: str) -> Beside:
            return beside(Committed(self.repo_id, head), self.url, manifest, card, replace=self._replace)

        commit = self.commit(title, at)
        log.info("publish.done", place=self.url, commit=commit, files=len(manifest.files) + 1)
        return commit

    def preupload(self, path: Path, name: str) -> None:
        """Uploads one file ahead; `path` is not needed afterwards. Raises the errors of `calls.call`."""
        operation = _operation(path, name)
        log.info("hub.upload", file=name, size=path.stat().st_size, repo=self.repo_id)
        call(f"upload {name} to", self._repo, lambda: self._upload(operation))
        if operation._upload_mode != "lfs":
            operation.path_or_fileobj = path.read_bytes()
        # Asked for now, because the client hashes the file only then, and the file will be gone.
        log.info("hub.uploaded", file=name, sha256=operation.upload_info.sha256.hex())
        self._operations[name] = operation

    def _upload(self, operation: "CommitOperationAdd") -> None:
        api().preupload_lfs_files(self.repo_id, [operation], revision=self._revision)

    def commit(self, message: str, at: Callable[[str], Beside] = lambda _: Beside({}, [])) -> str:
        """Commits every file that was uploaded ahead; returns the commit's id. `at`: what belongs beside them on top of
        a commit.

        The commit is made once for a run and its artifacts, even if this is called again or replies are lost. Raises
        IntegrityViolated if the commit does not contain what was sent, else the errors of `calls.call`.
        """
        artifacts = [name for name in self._operations if name not in self._documents]
        files = sorted((name, self._operations[name].upload_info.sha256.hex()) for name in artifacts)
        mark = f"{MARK} {self._run} {digest_of(files)}"
        found, is_new = call("commit to", self._repo, lambda: self._commit_once(message, mark, at), also_on=_CONFLICTS)
        self._verify(found, list(self._operations) if is_new else artifacts)
        return found

    def _commit_once(self, message: str, mark: str, at: Callable[[str], Beside]) -> tuple[str, bool]:
        """The commit's id, and whether it was made now."""
        from huggingface_hub import CommitOperationDelete

        client = api()
        commits = client.list_repo_commits(self.repo_id, revision=self._revision)
        for commit in commits:
            if mark in commit.message.splitlines():
                log.info("hub.committed_before", repo=self.repo_id, commit=commit.commit_id)
                return str(commit.commit_id), False
        documents, gone = at(commits[0].commit_id) if commits else Beside({}, [])
        with tempfile.TemporaryDirectory() as folder:
            for name, content in documents.items():
                path = Path(folder) / name
                path.write_bytes(content)
                self.preupload(path, name)
        made = client.create_commit(
            self.repo_id,
            [*self._operations.values(), *(CommitOperationDelete(name) for name in gone)],
            commit_message=message,
            commit_description=mark,
            revision=self._revision,
            parent_commit=commits[0].commit_id if commits else None,
        )
        return str(made.oid), True

    def _verify(self, commit: str, names: list[str]) -> None:
        """Compares files of the commit with what was sent, by size and hash."""
        there = {file.path: file for file in list_files(self.repo_id, commit)}
        for name in names:
            operation = self._operations[name]
            sent, found = operation.upload_info, there.get(name)
            if found is not None and found.size == sent.size and _same(found, sent.sha256.hex(), operation):
                continue
            what = "is missing" if found is None else "differs from what was sent"
            raise IntegrityViolated(
                f"{name} {what} in commit {commit} of {self._repo}",
                hint="Someone else may write to this repository. Start the job again, or name another repository.",
            )


def _role(who: dict[str, Any]) -> str | None:
    """read, write or fineGrained."""
    access = (who.get("auth") or {}).get("accessToken") or {}
    role: str | None = access.get("role")
    return role


def _same(found: HubFile, sha256: str, operation: "CommitOperationAdd") -> bool:
    """Whether a file on the Hub is the one that was sent: by SHA-256 for an LFS file, by git's hash for a small one."""
    return found.sha256 == sha256 if found.sha256 else found.git_id == _git_id(operation)


def _git_id(operation: "CommitOperationAdd") -> str:
    content = operation.path_or_fileobj
    assert isinstance(content, bytes)
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _operation(path: Path, name: str) -> "CommitOperationAdd":
    """The client's description of an upload, extended to report progress when bytes are sent from a file."""
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
