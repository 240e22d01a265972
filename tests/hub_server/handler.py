"""Which endpoint answers which request."""

import re

from tests.hub_server.connection import Refused
from tests.hub_server.downloads import Downloads
from tests.hub_server.uploads import Uploads

VERBS = "revision|tree|preupload|commits|commit|refs|branch|auth-check"


class Handler(Downloads, Uploads):
    """All endpoints."""

    def _answer(self) -> None:
        route = self.route
        if found := re.fullmatch(r"/api/(model|dataset)s/(.+?)/xet-(read|write)-token/.+", route):
            repo = self._repo(found[1], found[2])
            self._xet_token(repo if found[3] == "read" else self._writable(repo))
        elif found := re.fullmatch(r"/cdn/([0-9a-f]{64})", route):
            self._cdn(found[1])
        elif found := re.fullmatch(r"/lfs-store/([0-9a-f]{64})(?:/(\d+))?", route):
            self._store_lfs(found[1], found[2])
        elif route == "/api/whoami-v2":
            self._whoami()
        elif route == "/api/repos/create":
            self._create()
        elif route == "/api/validate-yaml":
            self._validate()
        elif found := re.fullmatch(rf"/api/(model|dataset)s/(.+?)(?:/({VERBS})(?:/(.*))?)?", route):
            repo = self._repo(found[1], found[2], listing=found[3] != "auth-check")
            getattr(self, "_" + (found[3] or "revision").replace("-", "_"))(repo, found[4] or "main")
        elif found := re.fullmatch(r"/(datasets/)?(.+?)\.git/info/lfs/objects/(batch|verify)", route):
            repo = self._writable(self._repo("dataset" if found[1] else "model", found[2]))
            self._lfs_batch(repo) if found[3] == "batch" else self._lfs_verify(repo)
        elif found := re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+|refs/[^/]+/[^/]+)/(.+)", route):
            self._resolve(self._repo("dataset" if found[1] else "model", found[2], listing=False), found[3], found[4])
        else:
            raise Refused(404, f"the local Hub knows no {self.command} {route}")
