"""Queries to git about commits, never about the files that are checked out.

Names are passed to git only as full commit and object ids, so nothing that was pushed can act as an option or a path.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from k8s.errors import SettingsInvalid

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
TIMEOUT_S = 120


def git(repo: Path, *arguments: str) -> bytes:
    """The output of git. Raises SettingsInvalid if it fails."""
    command = ["git", "--no-replace-objects", "--no-optional-locks", "-C", str(repo), *arguments]
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, env=os.environ | quiet, check=False)
    except FileNotFoundError as error:
        raise SettingsInvalid("git is not installed", hint="Install git on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise SettingsInvalid(f"git {arguments[0]} takes more than {TIMEOUT_S} s") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-300:]
        raise SettingsInvalid(
            f"git {arguments[0]}: {said}", hint="Check that this is the repository with its whole history."
        )
    return done.stdout


def is_none(commit: str) -> bool:
    """Whether an id is all zeros, which a forge sends as the commit before a new branch."""
    return bool(_COMMIT.fullmatch(commit)) and not commit.strip("0")


def commit(repo: Path, name: str) -> str | None:
    """The full id of a commit if it is here, else None. Raises SettingsInvalid for anything but a full id, since a
    branch can have moved to another commit."""
    if not _COMMIT.fullmatch(name):
        raise SettingsInvalid(f"{name[:80]!r} is not a commit id", hint="Give its full id, 40 hexadecimal digits.")
    try:
        return git(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    except SettingsInvalid:
        return None


def merge_base(repo: Path, one: str, other: str) -> str:
    """The last common commit of two histories. Raises SettingsInvalid if there is none, or if it is not here."""
    if git(repo, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise SettingsInvalid("only a part of the history is here", hint="Check out the whole history: fetch-depth: 0.")
    return git(repo, "merge-base", one, other).decode().strip()


def is_ancestor(repo: Path, old: str, new: str) -> bool:
    """Whether the new commit has the old one in its history."""
    return git(repo, "rev-list", "--max-count=1", old, f"^{new}") == b""


class Entry(NamedTuple):
    """A file of a commit. `mode`: 100644 for an ordinary one; `size` in bytes, 0 for a submodule."""

    mode: str
    identity: str
    size: int


def tree(repo: Path, commit: str) -> dict[bytes, Entry]:
    """Every file of a commit, by its path."""
    found = {}
    for entry in git(repo, "ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        about, path = entry.split(b"\t", 1)
        mode, _, identity, size = about.decode().split()
        found[path] = Entry(mode, identity, int(size) if size.isdigit() else 0)
    return found


def last_change(repo: Path, commit: str, path: bytes) -> str | None:
    """The last commit of a branch, as it was merged there, that changed a file; None if there is none."""
    pathspec = f":(top,literal){os.fsdecode(path)}"
    said = git(repo, "log", "-1", "--first-parent", "-m", "--format=%H", commit, "--", pathspec)
    return said.decode().split("\n")[0] or None


def blob(repo: Path, identity: str, limit: int) -> bytes:
    """A file's content. Raises SettingsInvalid for one that is larger."""
    size = int(git(repo, "cat-file", "-s", identity))
    if size > limit:
        raise SettingsInvalid(
            f"it has {size} bytes; at most {limit} are read", hint="Name the data in the spec, do not include it."
        )
    return git(repo, "cat-file", "blob", identity)
