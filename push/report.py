"""Reports runs to their commits: from the Jobs' annotations to GitHub's commit statuses, each change once.

https://docs.github.com/rest/commits/statuses: the token needs `statuses: write`, and a description has at most 140
characters.
"""

import re
from collections.abc import Mapping
from typing import Any

from job import strict_json
from job.artifacts import Frozen
from k8s.cluster.client import Cluster
from k8s.cluster.runs import SELECTOR, Run, run_of
from k8s.errors import AccessDenied, ClusterUnreachable, SettingsInvalid
from k8s.output import meaning
from push.annotations import COMMIT, FILE, PUSHED, REPORTED, REPOSITORY, URL, commits_of, reported, reported_of
from push.escape import one_line
from push.summary import state

TIMEOUT_S = 20.0
_NO_SUCH_COMMIT = 422
"""GitHub's answer for an unknown commit. (404: the token cannot read the repository.)"""
_STATES = {"complete": "success", "failed": "failure"}


class Forge(Frozen):
    """GitHub's API for one repository."""

    api: str
    repository: str
    token: str

    def tell(self, commit: str, body: Mapping[str, str]) -> None:
        """Sets a status; a commit that no longer exists needs none. Raises AccessDenied, ClusterUnreachable."""
        import urllib3

        url = f"{self.api}/repos/{self.repository}/statuses/{commit}"
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/vnd.github+json",
                   "Content-Type": "application/json", "X-GitHub-Api-Version": "2022-11-28",
                   "User-Agent": "finetune-run"}  # fmt: skip
        retries = urllib3.Retry(3, backoff_factor=0.5, status_forcelist=(429, 502, 503), allowed_methods=None)
        try:
            reply = urllib3.PoolManager().request(
                "POST", url, body=strict_json.dumps(body).encode(), headers=headers, retries=retries,
                timeout=urllib3.Timeout(TIMEOUT_S),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise ClusterUnreachable(f"{self.api} does not answer: {type(error).__name__}") from error
        if reply.status >= 300 and reply.status != _NO_SUCH_COMMIT:
            raise AccessDenied(
                f"{self.api} answers {reply.status} to a status of {commit[:12]}",
                hint="Give the token `statuses: write`.",
            )


def forge_of(environ: Mapping[str, str]) -> Forge | None:
    """The API, or None without a token. Raises SettingsInvalid."""
    token = environ.get("GITHUB_TOKEN", "").strip()
    if not token:
        return None
    repository = environ.get("GITHUB_REPOSITORY", "")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise SettingsInvalid("GITHUB_REPOSITORY does not name a repository")
    api = environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
    return Forge(api=api, repository=repository, token=token)


def report(cluster: Cluster, repository: str, forge: Forge | None) -> list[tuple[str, Run]]:
    """Every run that this repository has pushed, with its file, newest first. Sets the statuses that have changed."""
    found = []
    for job in cluster.jobs(f"{SELECTOR},{PUSHED}=true"):
        notes = job["metadata"].get("annotations") or {}
        if notes.get(REPOSITORY) != repository:
            continue
        run = run_of(job, cluster.pods(job["metadata"]["name"]))
        if forge:
            _tell(cluster, forge, run, notes)
        found.append((notes.get(FILE, ""), run))
    return sorted(found, key=lambda one: one[1].created, reverse=True)


def _tell(cluster: Cluster, forge: Forge, run: Run, notes: Mapping[str, Any]) -> None:
    told = reported_of(notes.get(REPORTED, ""))
    commits = commits_of(notes.get(COMMIT, ""))
    news = [commit for commit in commits if told.get(commit) != run.state]
    if not news:
        return
    for commit in news:
        forge.tell(commit, status(run, notes))
    kept = dict.fromkeys(commits, run.state)
    cluster.patch_job(run.name, {"metadata": {"annotations": {REPORTED: reported(kept)}}})


def status(run: Run, notes: Mapping[str, Any]) -> dict[str, str]:
    """The body of a status."""
    text = f"{run.name} {state(run)}"
    if run.state == "failed" and run.code:
        text += f": {meaning(run.code)}"
    body = {
        "state": _STATES.get(run.state, "pending"),
        "context": one_line(f"finetune-run/{notes.get(FILE, run.name)}", 100),
        "description": one_line(text, 140),
    }
    return body | ({"target_url": notes[URL]} if notes.get(URL) else {})
