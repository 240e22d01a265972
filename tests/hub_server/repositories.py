"""Who may see and write what, and the repositories: made, listed, with their branches and commits."""

import json
from typing import Any

from tests.hub_server.connection import Connection, Refused
from tests.hub_server.repos import Account, Repo
from tests.job.report.hub_card_rules import faults_of


class Repositories(Connection):
    """The Hub's own endpoints, but for those of files."""

    def _account(self) -> Account | None:
        if self.token is None:
            return None
        if account := self.hub.repos.accounts.get(self.token):
            return account
        raise Refused(401, "Invalid credentials in Authorization header")

    def _repo(self, kind: Any, name: str, *, listing: bool = True) -> Repo:
        """The repository, if it may be seen; if it may be read too, unless only its listing is asked for."""
        account, repo = self._account(), self.hub.repos.find(kind, name)
        visible = repo is not None and (not repo.private or (account is not None and _owns(account, repo)))
        if repo is None or not visible:
            if account:
                raise Refused(404, "Repository not found", "RepoNotFound")
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        open_to = account is not None and (_owns(account, repo) or name in account.accepted)
        if repo.gated and not listing and not open_to:
            text = f"Access to model {name} is restricted and you are not in the authorized list."
            raise Refused(403 if account else 401, text, "GatedRepo")
        return repo

    def _writable(self, repo: Repo) -> Repo:
        account = self._account()
        if account is None or not _owns(account, repo) or account.role != "write":
            raise Refused(403, "You don't have the rights to write to this repository")
        return repo

    def _commit_at(self, repo: Repo, revision: str) -> Any:
        if commit := repo.at(revision):
            return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def _whoami(self) -> None:
        account = self._account()
        if account is None:
            raise Refused(401, "Invalid username or password.")
        orgs = [{"name": org, "roleInOrg": "write"} for org in account.orgs]
        access = {"displayName": "token", "role": account.role}
        auth = {"type": "access_token", "accessToken": access}
        self._json({"type": "user", "name": account.name, "orgs": orgs, "auth": auth})

    def _create(self) -> None:
        account, asked = self._account(), json.loads(self.body)
        if account is None:
            raise Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or account.name
        name, kind = f"{owner}/{asked['name']}", asked.get("type", "model")
        if account.role != "write" or owner not in (account.name, *account.orgs):
            raise Refused(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        if self.hub.repos.find(kind, name):
            raise Refused(409, "You already created this model repo")
        self.hub.repos.create(name, kind, private=asked.get("visibility") == "private" or bool(asked.get("private")))
        self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def _revision(self, repo: Repo, revision: str) -> None:
        commit = self._commit_at(repo, revision)
        facts = {
            "id": repo.id,
            "modelId": repo.id,
            "sha": commit.id,
            "private": repo.private,
            "gated": "manual" if repo.gated else False,
            "tags": [],
            "siblings": [{"rfilename": path} for path in commit.files],
        }
        self._json(facts)

    def _tree(self, repo: Repo, where: str) -> None:
        revision, _, below = where.partition("/")
        commit = self._commit_at(repo, revision)
        entries = []
        for path, entry in sorted(commit.files.items()):
            if below and not path.startswith(f"{below}/"):
                continue
            item: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
            if entry.lfs:
                item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 130}
            entries.append(item)
        self._page(entries)

    def _commits(self, repo: Repo, revision: str) -> None:
        self._commit_at(repo, revision)
        found = [
            {"id": c.id, "title": c.title, "message": c.message, "date": c.date, "authors": [{"user": "me"}]}
            for c in repo.history(revision)
        ]
        self._page(found)

    def _refs(self, repo: Repo, _: str) -> None:
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
        self._json({"branches": branches, "converts": [], "tags": []})

    def _branch(self, repo: Repo, name: str) -> None:
        self._writable(repo)
        if name in repo.branches:
            raise Refused(409, "Reference already exists")
        repo.branches[name] = repo.branches["main"]
        self._json({})

    def _auth_check(self, repo: Repo, _: str) -> None:
        self._json({})

    def _validate(self) -> None:
        faults = faults_of(json.loads(self.body)["content"])
        said = json.dumps({"errors": [{"message": fault} for fault in faults], "warnings": []})
        self._send(said.encode(), 400 if faults else 200, {"Content-Type": "application/json"})


def _owns(account: Account, repo: Repo) -> bool:
    return repo.id.split("/")[0] in (account.name, *account.orgs)
