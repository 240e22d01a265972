"""Downloads from the Hub: pins revisions to commits, lists files, and verifies them by their hashes.

A folder contains huggingface_hub's own `.cache/` beside the files, with the commit of each, so an interrupted
download continues with the missing files.
"""

import hashlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, check_name, sha256_of
from job.errors import IntegrityViolated, NotFound
from job.hub.calls import Incomplete, Kind, Repo, api, call, endpoint, token
from job.logs import Progress, log

WORKERS = 4
_SMALL = 16 << 20


class HubFile(Frozen):
    """One file of a commit. `sha256` is known for LFS files; others are verified by `git_id` (git's hash of the
    blob)."""

    path: str
    size: int
    git_id: str
    sha256: str | None


def commit_of(repo_id: str, revision: str = "main", kind: Kind = "model") -> str:
    """The commit that a branch, a tag or a commit stands for now. Raises the errors of `calls.call`."""
    repo = Repo(id=repo_id, kind=kind, revision=revision)
    info = call("find", repo, lambda: api().repo_info(repo_id, revision=revision, repo_type=kind, timeout=30))
    if not info.sha or not re.fullmatch(r"[0-9a-f]{40,64}", info.sha):
        raise NotFound(f"{repo} has no commit")
    return info.sha


def may_read(repo_id: str, kind: Kind = "model") -> None:
    """Raises CredentialsRejected if the repository is gated and its licence was not accepted."""
    call("read", Repo(id=repo_id, kind=kind), lambda: api().auth_check(repo_id, repo_type=kind))


def list_files(repo_id: str, commit: str, kind: Kind = "model") -> list[HubFile]:
    """Every file of a commit, by name. Raises IntegrityViolated for one that would leave its folder."""
    from huggingface_hub.hf_api import RepoFile

    repo = Repo(id=repo_id, kind=kind, revision=commit)

    def listed() -> list[HubFile]:
        tree = api().list_repo_tree(repo_id, recursive=True, revision=commit, repo_type=kind)
        return [
            HubFile(path=check_name(f.path), size=f.size, git_id=f.blob_id, sha256=f.lfs.sha256 if f.lfs else None)
            for f in tree
            if isinstance(f, RepoFile)
        ]

    return sorted(call("list the files of", repo, listed), key=lambda file: file.path)


def read_bytes(repo_id: str, commit: str, file: HubFile, folder: Path, kind: Kind = "model") -> bytes:
    """A small file (up to 16 MB), downloaded to a folder. Raises IntegrityViolated for a larger one."""
    if file.size > _SMALL:
        raise IntegrityViolated(f"{repo_id}: {file.path} has {file.size} bytes, too many for such a file")
    download(repo_id, commit, [file], folder, kind)
    return (folder / file.path).read_bytes()


def read_small(repo_id: str, commit: str, file: HubFile, folder: Path, kind: Kind = "model") -> str:
    """The same as text."""
    return read_bytes(repo_id, commit, file, folder, kind).decode(errors="replace")


def start_of(repo_id: str, commit: str, name: str, count: int) -> bytes:
    """The first bytes of a file, at most `count`, whatever the server sends."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    url = hf_hub_url(repo_id, name, revision=commit, endpoint=endpoint())
    headers = api()._build_hf_headers() | {"Range": f"bytes=0-{count - 1}"}

    def read() -> bytes:
        found = bytearray()
        with get_session().stream("GET", url, headers=headers, follow_redirects=True) as reply:
            hf_raise_for_status(reply)
            for block in reply.iter_bytes(1 << 16):
                found += block
                if len(found) >= count:
                    break
        return bytes(found[:count])

    return call(f"read the header of {name} of", Repo(id=repo_id, kind="model", revision=commit), read)


def download(repo_id: str, commit: str, files: list[HubFile], folder: Path, kind: Kind = "model") -> dict[str, str]:
    """Downloads files of one commit into a folder and returns their SHA-256 by name.

    A file that does not match its hash is downloaded once more. Raises IntegrityViolated if it is wrong twice, and the
    errors of `calls.call`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bar = _Bar(f"downloading {repo_id}", sum(file.size for file in files))
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="download") as pool:
        tasks = [pool.submit(_fetched, repo_id, commit, file, folder, kind, bar) for file in files]
        try:
            return {file.path: task.result() for file, task in zip(files, tasks, strict=True)}
        finally:
            for task in tasks:
                task.cancel()


def remove_others(folder: Path, files: list[HubFile]) -> None:
    """Removes files of an earlier download of another commit: a loader would use its shards as this one's."""
    wanted = {file.path for file in files}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".cache/") and name not in wanted:
            path.unlink()


def _fetched(repo_id: str, commit: str, file: HubFile, folder: Path, kind: Kind, bar: "_Bar") -> str:
    repo = Repo(id=repo_id, kind=kind, revision=commit)
    path = folder / file.path
    for last in (False, True):
        call(f"download {file.path} of", repo, lambda: _fetch(repo_id, commit, file, folder, kind, bar))
        found = _verified(path, file)
        if found is not None:
            return found
        path.unlink()
        log.warning("hub.corrupt", file=file.path, repo=repo_id, what="given up" if last else "fetched again")
    raise IntegrityViolated(
        f"{file.path} of {repo} does not match its hash, twice",
        hint="A proxy or a mirror on the way changes it, or the Hub's copy is damaged.",
    )


def _fetch(repo_id: str, commit: str, file: HubFile, folder: Path, kind: Kind, bar: "_Bar") -> None:
    from huggingface_hub import hf_hub_download

    path = folder / file.path
    if path.is_file() and path.stat().st_size != file.size:
        path.unlink()
    bar.set(file.path, 0)
    hf_hub_download(
        repo_id,
        file.path,
        repo_type=kind,
        revision=commit,
        local_dir=folder,
        endpoint=endpoint(),
        token=token() or False,
        tqdm_class=bar.for_file(file.path),
    )
    if not path.is_file():
        raise Incomplete(f"{file.path} is missing")
    bar.set(file.path, file.size)


def _verified(path: Path, file: HubFile) -> str | None:
    """The file's SHA-256, or None if it does not match the commit's hash."""
    sha256 = sha256_of(path)
    if file.sha256 is not None:
        return sha256 if sha256 == file.sha256 else None
    length = 64 if len(file.git_id) == 64 else 40
    digest = hashlib.new("sha256" if length == 64 else "sha1")
    digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as opened:
        while block := opened.read(1 << 22):
            digest.update(block)
    return sha256 if digest.hexdigest() == file.git_id else None


class _Bar:
    """Sums what several downloads have received into one progress."""

    def __init__(self, what: str, total: int) -> None:
        self._progress = Progress(what, total, "bytes")
        self._lock = threading.Lock()
        self._received: dict[str, float] = {}

    def set(self, name: str, count: float) -> None:
        with self._lock:
            self._received[name] = count
            self._progress.update(sum(self._received.values()))

    def add(self, name: str, count: float) -> None:
        self.set(name, self._received.get(name, 0) + count)

    def for_file(self, name: str) -> Any:
        """A class with the parts of tqdm that huggingface_hub uses."""
        add = self.add

        class FileBar:
            def __init__(self, *_: Any, initial: float = 0, total: float | None = None, **__: Any) -> None:
                self.n, self.total = initial, total

            def update(self, count: float | None = 1) -> None:
                add(name, count or 0)

            def __enter__(self) -> "FileBar":
                return self

            def __exit__(self, *_: Any) -> None:
                return None

            def _nothing(self, *_: Any, **__: Any) -> None:
                return None

            close = refresh = reset = set_postfix_str = set_description = set_description_str = _nothing
            update_transfer = set_transfer_postfix_str = _nothing

        return FileBar
