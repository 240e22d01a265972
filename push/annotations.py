"""What a pushed run carries: from which commits it comes, and what was told of it already."""

import re
from collections.abc import Mapping

from job.artifacts import Frozen
from k8s.errors import SettingsInvalid

PUSHED = "finetune-run/pushed"
"""A label."""
COMMIT = "finetune-run/commit"
"""The commits that have this spec, oldest first, with a space between."""
REPOSITORY = "finetune-run/repository"
FILE = "finetune-run/file"
URL = "finetune-run/url"
"""The workflow's run that sent it."""
REPORTED = "finetune-run/reported"
"""Commits and the state that was told of each: `<commit>=<state>`."""
MOST_COMMITS = 20
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)+", re.ASCII)
_URL = re.compile(r"https?://[\w.:-]+(/[\w./-]*)?", re.ASCII)


class Origin(Frozen):
    """Where a push came from. `url`: of the workflow's run; `files`: of the repository's files at this commit."""

    repository: str
    commit: str
    url: str = ""
    files: str = ""


def origin_of(environ: Mapping[str, str], commit: str) -> Origin:
    """As GitHub's and GitLab's runners say it. Raises SettingsInvalid where neither does."""
    if repository := environ.get("GITHUB_REPOSITORY", ""):
        home = f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
        url, files = f"{home}/actions/runs/{environ.get('GITHUB_RUN_ID', '')}", f"{home}/blob/{commit}/"
    elif repository := environ.get("CI_PROJECT_PATH", ""):
        url, files = environ.get("CI_JOB_URL", ""), f"{environ.get('CI_PROJECT_URL', '')}/-/blob/{commit}/"
    if not _REPOSITORY.fullmatch(repository):
        raise SettingsInvalid(
            "which repository this is, is not said", hint="GitHub sets GITHUB_REPOSITORY, GitLab CI_PROJECT_PATH."
        )
    good = bool(_URL.fullmatch(url) and _URL.fullmatch(files))
    return Origin(repository=repository, commit=commit, url=url if good else "", files=files if good else "")


def commits_of(text: str) -> list[str]:
    """Of the annotation; what is no commit is left out."""
    return [one for one in text.split() if _COMMIT.fullmatch(one)][-MOST_COMMITS:]


def with_commit(text: str, commit: str) -> str:
    """The annotation with one commit more, the newest."""
    return " ".join([*(one for one in commits_of(text) if one != commit), commit][-MOST_COMMITS:])


def reported_of(text: str) -> dict[str, str]:
    """What was told, by commit."""
    return dict(one.split("=", 1) for one in text.split() if "=" in one)


def reported(told: Mapping[str, str]) -> str:
    """The annotation."""
    return " ".join(f"{commit}={state}" for commit, state in told.items())
