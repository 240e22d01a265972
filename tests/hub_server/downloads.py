"""Files as they are downloaded: small ones from the Hub, large ones by way of its CDN, or by Xet."""

from tests.hub_server.connection import Refused
from tests.hub_server.repos import Repo
from tests.hub_server.repositories import Repositories


class Downloads(Repositories):
    """Where a file is, and its bytes."""

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        commit = self._commit_at(repo, revision)
        entry = commit.files.get(path)
        if entry is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{entry.etag}"', "Accept-Ranges": "bytes"}
        if entry.lfs:
            linked = {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.etag}"'}
            target = f"{self.hub.cdn}/cdn/{entry.sha256}?Signature=canary-signature"
            if self.hub.xet:
                kind = "datasets" if "/datasets/" in self.route else "models"
                refresh = f"{self.hub.url}/api/{kind}/{repo.id}/xet-read-token/{commit.id}"
                file = self.hub.xet.add(self.hub.repos.blob(entry.sha256))
                linked |= {"X-Xet-Hash": file, "X-Xet-Refresh-Route": refresh}
            self._send(b"", 302, {**headers, **linked, "Location": target})
        else:
            self._send_range(self.hub.repos.blob(entry.sha256).read_bytes(), headers)

    def _cdn(self, sha256: str) -> None:
        if self.token is not None:
            self.hub.leaks.append(self.route)
        self._send_range(self.hub.repos.blob(sha256).read_bytes(), {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})
