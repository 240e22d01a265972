"""A local server that speaks the Hub's endpoints to the real huggingface_hub, with faults on demand.

Downloads of LFS files are redirected to a second port, as the Hub redirects to its CDN; a token that
arrives there is noted in `leaks`. Clients use the LFS protocol (HF_HUB_DISABLE_XET), those of `xet_hub` use Xet.

`python -m tests.hub_server --port 8080 --root DIR` serves it by itself, with the token of --token.
"""

import base64
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server, socket
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest

from tests.hub_repos import Account, Kind, Repo, Repos, Role
from tests.hub_xet import NEVER, XetStorage
from tests.job.report.hub_card_rules import faults_of

VERBS = "revision|tree|preupload|commits|commit|refs|branch|auth-check"


@dataclass
class Fault:
    """What goes wrong with the requests whose `METHOD path` matches, and how often it does."""

    pattern: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "it was asked for"
    after: bool = False
    """The request takes effect first, and then fails."""
    cut_at: int | None = None
    """The body ends after so many bytes, with the connection."""
    corrupt: bool = False
    delay_s: float = 0


@dataclass
class Request:
    """One request as it came: what was asked, by whom, how it was answered, the bytes of its body."""

    method: str
    path: str
    token: str | None
    status: int
    received: int
    sent: int
    range: str | None


class Hub:
    """The server. Tests give it repositories and tokens, and read what it was asked."""

    def __init__(self, root: Path, port: int = 0, host: str = "127.0.0.1") -> None:
        self.repos = Repos(root)
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.leaks: list[str] = []
        self.page_size = 1000
        self.lfs_above = 10_000_000
        self.multipart_above = 1 << 30
        self.part_size = 1 << 20
        self.xet: XetStorage | None = None
        self._parts: dict[str, dict[int, bytes]] = {}
        self._web, self._cdn = (_listen(self, host, number) for number in (port, 0))
        self.url = f"http://{host}:{self._web.server_address[1]}"
        self.cdn = f"http://{host}:{self._cdn.server_address[1]}"

    def token(self, value: str, name: str = "me", role: Role = "write", **more: Any) -> str:
        """Makes a token known."""
        self.repos.accounts[value] = Account(name, role, **more)
        return value

    def add(self, name: str, files: dict[str, bytes] | Path, kind: Kind = "model", **flags: bool) -> str:
        """A repository, or one more commit of it. Gives the commit's id."""
        if isinstance(files, Path):
            files = {p.relative_to(files).as_posix(): p.read_bytes() for p in sorted(files.rglob("*")) if p.is_file()}
        repo = self.repos.find(kind, name) or self.repos.create(name, kind, **flags)
        return self.repos.commit(repo, "main", files, "upload").id

    def repo(self, name: str, kind: Kind = "model") -> Repo:
        found = self.repos.find(kind, name)
        assert found
        return found

    def fail(self, pattern: str, times: int = 1, **how: Any) -> Fault:
        """Asks for a fault. `pattern` is searched in `METHOD path`."""
        fault = Fault(pattern, times, **how)
        self.faults.append(fault)
        return fault

    def fault_for(self, request: str) -> Fault | None:
        with self.repos.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, request):
                    fault.times -= 1
                    return fault
        return None

    def asked(self, pattern: str) -> list[Request]:
        """The requests so far whose `METHOD path` matches."""
        return [one for one in self.requests if re.search(pattern, f"{one.method} {one.path}")]

    def part(self, oid: str, number: int, data: bytes) -> None:
        self._parts.setdefault(oid, {})[number] = data

    def joined(self, oid: str) -> bytes:
        parts = self._parts.pop(oid)
        return b"".join(parts[number] for number in sorted(parts))

    def stop(self) -> None:
        for server in (self._web, self._cdn):
            server.shutdown()
            server.server_close()


def _listen(hub: Hub, host: str, port: int) -> ThreadingHTTPServer:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        self.status, self.message, self.code = status, message, code


class _Handler(BaseHTTPRequestHandler):
    """One connection. Each `_answer_…` ends in `_send`, or raises _Refused."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_any(self) -> None:
        split = urlsplit(self.path)
        self.route, self.query = unquote(split.path), parse_qs(split.query)
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        self.token = token if scheme == "Bearer" and token else None
        self.body = self._read_body()
        self.sent = 0
        self.fault = self.hub.fault_for(f"{self.command} {self.route}")
        self.note = Request(self.command, self.route, self.token, 0, len(self.body), 0, self.headers.get("Range"))
        self.hub.requests.append(self.note)
        try:
            self._answer_with_fault()
        except _Refused as refusal:
            self._refuse(refusal)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    def _answer_with_fault(self) -> None:
        fault = self.fault
        if fault and fault.delay_s:
            time.sleep(fault.delay_s)
        if fault and fault.status:
            if fault.after:
                self.dry = True
                self._answer()
            headers = {"X-Error-Message": fault.message, **fault.headers}
            self.dry = False
            self._send(json.dumps({"error": fault.message}).encode(), fault.status, headers)
            return
        self._answer()

    dry = False
    """The answer is thrown away: the request has taken effect and the fault's answer follows."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        blocks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            blocks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(blocks)

    def _refuse(self, refusal: _Refused) -> None:
        headers = {"X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        self._send(json.dumps({"error": refusal.message}).encode(), refusal.status, headers)

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), 200, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if self.dry:
            return
        fault = self.fault
        if fault and fault.corrupt and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.note.status = status
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.cut_at is not None:
            data = data[: fault.cut_at]
            self.close_connection = True
        self.wfile.write(data)
        self.note.sent = len(data)

    # --- what is asked ---

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
            raise _Refused(404, f"the local Hub knows no {self.command} {route}")

    def _validate(self) -> None:
        faults = faults_of(json.loads(self.body)["content"])
        said = json.dumps({"errors": [{"message": fault} for fault in faults], "warnings": []})
        self._send(said.encode(), 400 if faults else 200, {"Content-Type": "application/json"})

    def _account(self) -> Account | None:
        if self.token is None:
            return None
        if account := self.hub.repos.accounts.get(self.token):
            return account
        raise _Refused(401, "Invalid credentials in Authorization header")

    def _repo(self, kind: Any, name: str, *, listing: bool = True) -> Repo:
        """The repository, if it may be seen; if it may be read too, unless only its listing is asked for."""
        account, repo = self._account(), self.hub.repos.find(kind, name)
        visible = repo is not None and (not repo.private or (account is not None and _owns(account, repo)))
        if repo is None or not visible:
            if account:
                raise _Refused(404, "Repository not found", "RepoNotFound")
            raise _Refused(401, "Invalid username or password.", "RepoNotFound")
        open_to = account is not None and (_owns(account, repo) or name in account.accepted)
        if repo.gated and not listing and not open_to:
            text = f"Access to model {name} is restricted and you are not in the authorized list."
            raise _Refused(403 if account else 401, text, "GatedRepo")
        return repo

    def _writable(self, repo: Repo) -> Repo:
        account = self._account()
        if account is None or not _owns(account, repo) or account.role != "write":
            raise _Refused(403, "You don't have the rights to write to this repository")
        return repo

    def _commit_at(self, repo: Repo, revision: str) -> Any:
        if commit := repo.at(revision):
            return commit
        raise _Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def _whoami(self) -> None:
        account = self._account()
        if account is None:
            raise _Refused(401, "Invalid username or password.")
        orgs = [{"name": org, "roleInOrg": "write"} for org in account.orgs]
        access = {"displayName": "token", "role": account.role}
        auth = {"type": "access_token", "accessToken": access}
        self._json({"type": "user", "name": account.name, "orgs": orgs, "auth": auth})

    def _create(self) -> None:
        account, asked = self._account(), json.loads(self.body)
        if account is None:
            raise _Refused(401, "Invalid username or password.")
        owner = asked.get("organization") or account.name
        name, kind = f"{owner}/{asked['name']}", asked.get("type", "model")
        if account.role != "write" or owner not in (account.name, *account.orgs):
            raise _Refused(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        if self.hub.repos.find(kind, name):
            raise _Refused(409, "You already created this model repo")
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

    def _page(self, entries: list[Any]) -> None:
        start = int(self.query.get("cursor", ["0"])[0])
        end = start + self.hub.page_size
        headers = {}
        if end < len(entries):
            kept = "&".join(f"{k}={quote(v[0])}" for k, v in self.query.items() if k != "cursor")
            headers["Link"] = f'<{self.hub.url}{quote(self.route)}?{kept}&cursor={end}>; rel="next"'
        self._json(entries[start:end], headers)

    def _refs(self, repo: Repo, _: str) -> None:
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c} for n, c in repo.branches.items()]
        self._json({"branches": branches, "converts": [], "tags": []})

    def _branch(self, repo: Repo, name: str) -> None:
        self._writable(repo)
        if name in repo.branches:
            raise _Refused(409, "Reference already exists")
        repo.branches[name] = repo.branches["main"]
        self._json({})

    def _auth_check(self, repo: Repo, _: str) -> None:
        self._json({})

    def _resolve(self, repo: Repo, revision: str, path: str) -> None:
        commit = self._commit_at(repo, revision)
        entry = commit.files.get(path)
        if entry is None:
            raise _Refused(404, "Entry not found", "EntryNotFound")
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

    def _send_range(self, data: bytes, headers: dict[str, str]) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not found:
            return self._send(data, 200, headers)
        start, end = int(found[1]), int(found[2] or len(data) - 1)
        where = f"bytes {start}-{end}/{len(data)}"
        self._send(data[start : end + 1], 206, {**headers, "Content-Range": where})

    # --- uploads ---

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
            raise _Refused(404, "the object was not uploaded")
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
                raise _Refused(412, "A commit has happened since. Please refresh and try again.")
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "file":
                    entries[value["path"]] = self.hub.repos.entry(
                        value["path"], base64.b64decode(value["content"]), lfs=False
                    )
                elif line["key"] == "lfsFile":
                    if value["oid"] not in repo.lfs and not self._in_xet(value["oid"], value["size"]):
                        raise _Refused(400, f"LFS object {value['oid']} was not uploaded")
                    data = self.hub.repos.blob(value["oid"]).read_bytes()
                    entries[value["path"]] = self.hub.repos.entry(value["path"], data, lfs=True)
            gone = [line["value"]["path"] for line in lines[1:] if line["key"] == "deletedFile"]
            commit = self.hub.repos.commit_entries(repo, branch, entries, head["summary"], head["description"], gone)
        self._json(
            {"success": True, "commitOid": commit.id, "commitUrl": f"{self.hub.url}/{repo.id}/commit/{commit.id}"}
        )


def _owns(account: Account, repo: Repo) -> bool:
    return repo.id.split("/")[0] in (account.name, *account.orgs)


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of the test's own, and the environment that leads to it, also for child processes."""
    server = Hub(tmp_path_factory.mktemp("hub"))
    for variable in list(os.environ):
        if variable.startswith(("HF_", "HUGGING_FACE", "HUGGINGFACE")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", server.token("hf_" + "localtokenLOCALTOKEN" + "0123456789"))
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf-home")))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    _use_xet(monkeypatch, False)
    yield server
    server.stop()


@pytest.fixture
def xet_hub(hub: Hub, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub whose clients send and get large files by Xet, as the public one's do."""
    hub.xet = XetStorage(tmp_path_factory.mktemp("xet"))
    monkeypatch.delenv("HF_HUB_DISABLE_XET")
    _use_xet(monkeypatch, True)
    return hub


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing."""
    server = create_server(("127.0.0.1", 0))
    held: list[socket] = []

    def take() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    for one in held:
        one.close()


def _use_xet(monkeypatch: pytest.MonkeyPatch, wanted: bool) -> None:
    """In this process too, if it has imported the client already."""
    if "huggingface_hub" in sys.modules:
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", not wanted)


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description="A local Hugging Face Hub.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--token", default="hf_local")
    given = parser.parse_args()
    server = Hub(given.root, given.port)
    server.token(given.token)
    sys.stdout.write(f"HF_ENDPOINT={server.url} HF_TOKEN={given.token} HF_HUB_DISABLE_XET=1\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
