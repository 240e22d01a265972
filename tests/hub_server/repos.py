"""What the local Hub holds: accounts, and repositories with their branches, commits and files.

Contents lie by their SHA-256 below one folder. With `state.json` beside them a Hub that is started again
on the same folder has the same repositories.

    <root>/blobs/<sha256>
    <root>/state.json
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["model", "dataset"]
Role = Literal["read", "write"]
LFS_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".parquet", ".gz")


def git_hash(data: bytes) -> str:
    """git's id of a file that is no LFS pointer."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Account:
    """Who a token belongs to, and what it may do."""

    name: str
    role: Role = "write"
    orgs: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """The gated repositories whose licence was accepted."""


@dataclass
class Entry:
    """One file of a commit."""

    sha256: str
    size: int
    oid: str
    """git's id: of the file, or of its LFS pointer."""
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass
class Commit:
    """A state of all files."""

    id: str
    parent: str | None
    title: str
    message: str
    date: str
    files: dict[str, Entry]


@dataclass
class Repo:
    """A repository. `lfs` holds what was uploaded for it, committed or not."""

    id: str
    kind: Kind = "model"
    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lfs: list[str] = field(default_factory=list)

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision, revision))

    def history(self, revision: str) -> list[Commit]:
        """The newest first."""
        found, commit = [], self.at(revision)
        while commit:
            found.append(commit)
            commit = self.commits.get(commit.parent or "")
        return found


class Repos:
    """All of it. Every change is made under `lock`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.accounts: dict[str, Account] = {}
        self.all: dict[tuple[Kind, str], Repo] = {}
        self.lock = threading.RLock()
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        if (root / "state.json").is_file():
            self._load()

    def blob(self, sha256: str) -> Path:
        return self.root / "blobs" / sha256

    def keep(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.blob(sha256).exists():
            self.blob(sha256).write_bytes(data)
        return sha256

    def find(self, kind: Kind, name: str) -> Repo | None:
        return self.all.get((kind, name))

    def create(self, name: str, kind: Kind = "model", *, private: bool = False, gated: bool = False) -> Repo:
        """A new repository with the first commit that the Hub makes itself."""
        with self.lock:
            repo = Repo(name, kind, private, gated)
            self.all[kind, name] = repo
            self.commit(repo, "main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
            return repo

    def entry(self, path: str, data: bytes, *, lfs: bool | None = None) -> Entry:
        as_lfs = path.endswith(LFS_SUFFIXES) if lfs is None else lfs
        sha256 = self.keep(data)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
        return Entry(sha256, len(data), git_hash(pointer if as_lfs else data), as_lfs)

    def commit(self, repo: Repo, branch: str, files: dict[str, bytes], title: str, message: str = "") -> Commit:
        return self.commit_entries(repo, branch, {p: self.entry(p, data) for p, data in files.items()}, title, message)

    def commit_entries(
        self,
        repo: Repo,
        branch: str,
        entries: dict[str, Entry],
        title: str,
        message: str = "",
        gone: Iterable[str] = (),
    ) -> Commit:
        with self.lock:
            parent = repo.at(branch)
            files = {**(parent.files if parent else {}), **entries}
            for path in gone:
                files.pop(path, None)
            date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            seed = json.dumps(
                [repo.id, parent.id if parent else None, title, message, sorted(files), len(repo.commits)]
            )
            identity = hashlib.sha1(seed.encode()).hexdigest()
            commit = Commit(identity, parent.id if parent else None, title, message, date, files)
            repo.commits[identity] = commit
            repo.branches[branch] = identity
            self._save()
            return commit

    def read(self, repo: Repo, path: str, revision: str = "main") -> bytes:
        commit = repo.at(revision)
        assert commit
        return self.blob(commit.files[path].sha256).read_bytes()

    def _save(self) -> None:
        state = {
            "accounts": {token: asdict(account) for token, account in self.accounts.items()},
            "repos": [asdict(repo) for repo in self.all.values()],
        }
        (self.root / "state.json").write_text(json.dumps(state, indent=1))

    def _load(self) -> None:
        state: dict[str, Any] = json.loads((self.root / "state.json").read_text())
        self.accounts = {token: Account(**account) for token, account in state["accounts"].items()}
        for held in state["repos"]:
            commits = {
                identity: Commit(**{**commit, "files": {p: Entry(**e) for p, e in commit["files"].items()}})
                for identity, commit in held.pop("commits").items()
            }
            self.all[held["kind"], held["id"]] = Repo(**held, commits=commits)
