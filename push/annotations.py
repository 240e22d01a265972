"""Labels and annotations of a pushed run: its commits, and the statuses that were reported already."""

import re
from collections.abc import Mapping

from job.artifacts import Frozen
from k8s.errors import SettingsInvalid

PUSHED = "finetune-run/pushed"
"""The label of a pushed run."""
COMMIT = "finetune-run/commit"
"""The commits with this spec, oldest first, separated by spaces."""
REPOSITORY = "finetune-run/repository"
FILE = "finetune-run/file"
URL = "finetune-run/url"
"""The URL of the workflow's run that sent it."""
REPORTED = "finetune-run/reported"
"""The state that was reported to each commit: `<commit>=<state>`."""
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
    """The origin, from the variables of GitHub's or GitLab's runner. Raises SettingsInvalid if there are none."""
    if repository := environ.get("GITHUB_REPOSITORY", ""):
        home = f"{environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
        url, files = f"{home}/actions/runs/{environ.get('GITHUB_RUN_ID', '')}", f"{home}/blob/{commit}/"
    elif repository := environ.get("CI_PROJECT_PATH", ""):
        url, files = environ.get("CI_JOB_URL", ""), f"{environ.get('CI_PROJECT_URL', '')}/-/blob/{commit}/"
    if not _REPOSITORY.fullmatch(repository):
        raise SettingsInvalid(
            "the repository is unknown",
            hint="Set GITHUB_REPOSITORY, as GitHub does, or CI_PROJECT_PATH, as GitLab does.",
        )
    good = bool(_URL.fullmatch(url) and _URL.fullmatch(files))
    return Origin(repository=repository, commit=commit, url=url if good else "", files=files if good else "")


def commits_of(text: str) -> list[str]:
    """The commits in the annotation; anything else is left out."""
    return [one for one in text.split() if _COMMIT.fullmatch(one)][-MOST_COMMITS:]


def with_commit(text: str, commit: str) -> str:
    """The annotation with the newest commit added."""
    return " ".join([*(one for one in commits_of(text) if one != commit), commit][-MOST_COMMITS:])


def reported_of(text: str) -> dict[str, str]:
    """The reported state by commit."""
    return dict(one.split("=", 1) for one in text.split() if "=" in one)


def reported(told: Mapping[str, str]) -> str:
    """The annotation's text."""
    return " ".join(f"{commit}={state}" for commit, state in told.items())
