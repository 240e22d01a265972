"""Finds the specs that a push or a pull request has changed: only by `git diff` between two known commits.

The branch's trees before and after are compared, so a merge counts with the changes that it adds, and a force push
with the branch's new content. If the commit before is unknown, nothing is chosen, so never every spec by accident.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from job.artifacts import Frozen
from job.errors import SpecInvalid
from k8s.errors import SettingsInvalid
from push import git
from push.escape import shown

FOLDER = b"runs/"
ENDING = b".yaml"
_FILES = ("100644", "100755")
_WHAT = {"120000": "a symbolic link", "160000": "a submodule"}


class Changed(Frozen):
    """A spec in a commit. `name`: its path, escaped to be shown; `identity`: git's id of its content."""

    name: str
    path: bytes
    identity: str


class Change(Frozen):
    """The changes of one push. `kind`: how the two commits are related; `ignored`: files below runs/ that are not
    specs, and deleted specs."""

    kind: Literal["push", "first", "forced", "request", "named"]
    before: str | None
    after: str
    specs: tuple[Changed, ...]
    ignored: tuple[str, ...] = ()


def of_push(repo: Path, before: str, after: str) -> Change:
    """The changes between the branch's commits before and after. Raises SettingsInvalid if one is not here, SpecInvalid
    for a changed path that cannot be a spec."""
    new = _here(repo, after)
    if git.is_none(before):
        return Change(kind="first", before=None, after=new, specs=())
    old = git.commit(repo, before)
    if old is None:
        raise SettingsInvalid(
            f"the commit before it ({before[:12]}) is not here, so the changes are unknown and nothing is sent",
            hint="Check out the whole history (fetch-depth: 0). After a force push, name the files to run.",
        )
    kind: Literal["push", "forced"] = "push" if git.is_ancestor(repo, old, new) else "forced"
    return _between(repo, kind, old, new)


def of_request(repo: Path, base: str, head: str) -> Change:
    """The changes of a branch since it left its base. Raises the errors of `of_push`."""
    new = _here(repo, head)
    return _between(repo, "request", git.merge_base(repo, _here(repo, base), new), new)


def of_names(repo: Path, after: str, names: Sequence[str]) -> Change:
    """Files of a commit by name, for a run that is started by hand. Raises SpecInvalid if one is not a spec."""
    new = _here(repo, after)
    entries = git.tree(repo, new)
    found = []
    for name in names:
        path = name.encode(errors="surrogateescape")
        if path not in entries or not is_spec(path):
            raise SpecInvalid(
                f"{shown(path)} is not a spec in commit {new[:12]}", hint="Name files of that commit as runs/NAME.yaml."
            )
        found.append(_spec(path, entries[path].mode, entries[path].identity))
    return Change(kind="named", before=None, after=new, specs=tuple(found))


def is_spec(path: bytes) -> bool:
    """Whether a path is runs/NAME.yaml, directly in that folder."""
    name = path.removeprefix(FOLDER)
    return path.startswith(FOLDER) and b"/" not in name and name.endswith(ENDING) and name != ENDING


def _here(repo: Path, name: str) -> str:
    found = git.commit(repo, name)
    if found is None:
        raise SettingsInvalid(f"commit {name[:12]} is not here", hint="Check out the whole history: fetch-depth: 0.")
    return found


def _between(repo: Path, kind: Literal["push", "forced", "request"], old: str, new: str) -> Change:
    raw = git.git(
        repo, "diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-relative", "--no-ext-diff", "--no-textconv",
        "--no-color", "--ignore-submodules=none", old, new, "--", ":(top,literal)runs",
    )  # fmt: skip
    fields = raw.split(b"\0")[:-1]
    specs, ignored = [], []
    for about, path in zip(fields[::2], fields[1::2], strict=True):
        _, mode, was, identity, status = about.decode().removeprefix(":").split(" ")
        if status == "D":
            ignored.append(f"{shown(path)} was deleted; a run of it that is active is not ended")
        elif not is_spec(path):
            ignored.append(f"{shown(path)} is not a spec: specs are runs/NAME.yaml")
        elif was != identity or status != "M":
            specs.append(_spec(path, mode, identity))
    return Change(kind=kind, before=old, after=new, specs=tuple(specs), ignored=tuple(ignored))


def _spec(path: bytes, mode: str, identity: str) -> Changed:
    if mode not in _FILES:
        raise SpecInvalid(
            f"{shown(path)} is {_WHAT.get(mode, 'not a file')}", hint="Make the spec an ordinary file in runs/."
        )
    return Changed(name=shown(path), path=path, identity=identity)
