"""Files as they are uploaded: by LFS, in parts or whole, or by Xet, and the commit that makes them visible."""

import base64
import hashlib
import json
from typing import Any

from tests.hub_server.connection import Refused
from tests.hub_server.repos import Repo
from tests.hub_server.repositories import Repositories
from tests.hub_server.xet import NEVER


class Uploads(Repositories):
    """What comes before a commit, and the commit."""

    def _preupload(self, repo: Repo, revision: str) -> None:
        self._writable(repo)
        commit = self._commit_at(repo, revision)
        files = []
        for file in json.loads(self.body)["files"]:
            path, old = file["path"], commit.files.get(file["path"])
            lfs = self.hub.repos.entry(path, b"").lfs or file["size"] > self.hub.lfs_above
            mode = "lfs" if lfs else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": old.etag if old else None})
        self._json({"files": files})

    def _lfs_batch(self, repo: Repo) -> None:
        objects = []
        for one in json.loads(self.body)["objects"]:
            answer: dict[str, Any] = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in repo.lfs:
                verify = f"{self.hub.url}/{self.route.strip('/').removesuffix('batch')}verify"
                upload = {"href": f"{self.hub.url}/lfs-store/{one['oid']}?repo={repo.id}", "header": {}}
                if one["size"] > self.hub.multipart_above:
                    parts = range(1, -(-one["size"] // self.hub.part_size) + 1)
                    links = {str(n): f"{self.hub.url}/lfs-store/{one['oid']}/{n}" for n in parts}
                    upload["header"] = {"chunk_size": str(self.hub.part_size), **links}
                answer["actions"] = {"upload": upload, "verify": {"href": verify, "header": {}}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def _store_lfs(self, oid: str, part: str | None) -> None:
        """The storage behind signed addresses: a whole file, a part of one, or the word that all parts are there."""
        if part:
            self.hub.part(oid, int(part), self.body)
            return self._send(b"", 200, {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
        data = self.body if self.command == "PUT" else self.hub.joined(oid)
        self.hub.repos.blob(hashlib.sha256(data).hexdigest()).write_bytes(data)
        self._json({})

    def _lfs_verify(self, repo: Repo) -> None:
        oid = json.loads(self.body)["oid"]
        if not self.hub.repos.blob(oid).is_file():
            raise Refused(404, "the object was not uploaded")
        repo.lfs.append(oid)
        self._json({})

    def _xet_token(self, repo: Repo) -> None:
        assert self.hub.xet
        access = {"Cas-Url": self.hub.xet.url, "Access-Token": "t", "Token-Expiration": str(NEVER)}
        body = {"casUrl": self.hub.xet.url, "accessToken": "t", "exp": NEVER}
        self._json(body, {f"X-Xet-{name}": value for name, value in access.items()})

    def _in_xet(self, sha256: str, size: int) -> bool:
        return self.hub.xet is not None and self.hub.xet.find(sha256, size, self.hub.repos.blob(sha256))

    def _commit(self, repo: Repo, branch: str) -> None:
        self._writable(repo)
        lines = [json.loads(line) for line in self.body.splitlines()]
        head, entries = lines[0]["value"], {}
        with self.hub.repos.lock:
            parent = self._commit_at(repo, branch)
            if head.get("parentCommit", parent.id) != parent.id:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "file":
                    entries[value["path"]] = self.hub.repos.entry(
                        value["path"], base64.b64decode(value["content"]), lfs=False
                    )
                elif line["key"] == "lfsFile":
                    if value["oid"] not in repo.lfs and not self._in_xet(value["oid"], value["size"]):
                        raise Refused(400, f"LFS object {value['oid']} was not uploaded")
                    data = self.hub.repos.blob(value["oid"]).read_bytes()
                    entries[value["path"]] = self.hub.repos.entry(value["path"], data, lfs=True)
            gone = [line["value"]["path"] for line in lines[1:] if line["key"] == "deletedFile"]
            commit = self.hub.repos.commit_entries(repo, branch, entries, head["summary"], head["description"], gone)
        self._json(
            {"success": True, "commitOid": commit.id, "commitUrl": f"{self.hub.url}/{repo.id}/commit/{commit.id}"}
        )
