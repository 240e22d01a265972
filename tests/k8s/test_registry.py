"""What an image computes on is asked of its registry, as a container runtime asks it."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from k8s import registry
from k8s.cuda_image import LABEL, check_cuda
from k8s.errors import SettingsInvalid
from k8s.placement.place import place
from k8s.placement.wish import Wish
from k8s.registry import NotAsked, Reference, labels_of, reference
from tests.k8s.job_settings import settings

USER = "Basic " + base64.b64encode(b"me:s3cretS3CRET").decode()
T4 = place(Wish.of("t4", platform="gke"), None)
OTHER_HOST = "127.0.0.2"  # of this machine too


class Registry:
    """The distribution specification's calls for pulling, of one repository. `login`: None, `Basic` or `Bearer`."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {}
        self.login: str | None = None
        self.asked: list[tuple[str, str | None]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.blobs = ThreadingHTTPServer((OTHER_HOST, self.server.server_port), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        for server in (self.server, self.blobs):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def push(self, tag: str, labels: dict[str, str] | None, *, index: bool = False) -> str:
        config = self.add("blobs", {"architecture": "amd64", "config": {"Labels": labels}})
        manifest = {"schemaVersion": 2, "config": {"digest": config}, "layers": []}
        if index:
            other = {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}}
            ours = {"digest": self.add("manifests", manifest), "platform": {"os": "linux", "architecture": "amd64"}}
            manifest = {"schemaVersion": 2, "manifests": [other, ours]}
        self.files[f"/v2/team/run/manifests/{tag}"] = manifest
        return f"{self.host}/team/run:{tag}"

    def add(self, kind: str, content: dict[str, Any]) -> str:
        digest = "sha256:" + hashlib.sha256(json.dumps(content).encode()).hexdigest()
        self.files[f"/v2/team/run/{kind}/{digest}"] = content
        return digest

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        given = request.headers.get("Authorization")
        self.asked.append((path, given))
        if path == "/token":
            right = given == USER and "scope=repository%3Ateam%2Frun%3Apull" in query
            return self.send(request, 200 if right else 401, {"token": "t0ken"})
        elsewhere = request.headers["Host"].startswith(OTHER_HOST)
        wanted = {"Basic": USER, "Bearer": "Bearer t0ken", None: None}[self.login]
        if wanted and given != wanted and not elsewhere:
            realm = f'{self.login} realm="http://{self.host}/token",service="here",scope="repository:team/run:pull"'
            return self.send(request, 401, {}, **{"WWW-Authenticate": realm})
        if "/blobs/" in path and not elsewhere:
            return self.send(request, 307, {}, Location=f"http://{OTHER_HOST}:{self.server.server_port}{path}")
        content = self.files.get(path)
        return self.send(request, 200 if content else 404, content or {})

    def send(self, request: BaseHTTPRequestHandler, status: int, content: dict[str, Any], **headers: str) -> None:
        body = json.dumps(content).encode()
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    found = Registry()
    yield found
    for server in (found.server, found.blobs):
        server.shutdown()
        server.server_close()


def log_in(folder: Path, host: str, helper: bool) -> None:
    secret = {"auths": {host: {"auth": USER.removeprefix("Basic ")}}}
    (folder / "config.json").write_text(json.dumps({"credHelpers": {host: "ours"}} if helper else secret))
    program = folder / "docker-credential-ours"
    program.write_text('#!/bin/sh\necho \'{"Username": "me", "Secret": "s3cretS3CRET"}\'\n')
    program.chmod(0o755)


@pytest.mark.parametrize("index", [False, True])
def test_the_labels_are_those_of_the_variant_for_amd64(here: Registry, index: bool) -> None:
    assert labels_of(here.push("1", {LABEL: "75"}, index=index)) == {LABEL: "75"}


@pytest.mark.parametrize("helper", [False, True])
@pytest.mark.parametrize("login", ["Basic", "Bearer"])
def test_a_login_is_docker_s_and_does_not_follow_to_another_host(
    here: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str, helper: bool
) -> None:
    here.login = login
    image = here.push("1", {LABEL: "none"})
    with pytest.raises(NotAsked):
        labels_of(image)
    log_in(tmp_path, here.host, helper)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    here.asked.clear()
    assert labels_of(image) == {LABEL: "none"}
    path, given = here.asked[-1]
    assert "/blobs/" in path and given is None


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("ghcr.io/owner/run", ("ghcr.io", "owner/run", "latest")),
        ("localhost:5000/run:1", ("localhost:5000", "run", "1")),
        ("docker.io/run:2", ("registry-1.docker.io", "library/run", "2")),
        (f"r.example/a/b:1@sha256:{'0' * 64}", ("r.example", "a/b", f"sha256:{'0' * 64}")),
    ],
)
def test_a_reference_has_a_registry_a_repository_and_a_version(image: str, parts: tuple[str, str, str]) -> None:
    assert reference(image) == Reference(*parts)


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("none", "is CPU-only"),
        ("80;90", "has no code for t4: it was built for 8.0, 9.0"),
        ("75;80", None),
        ("native", None),
        (None, None),
    ],
)
def test_an_image_that_cannot_use_the_gpu_is_refused_unless_it_is_told(
    here: Registry, label: str | None, says: str | None
) -> None:
    image = here.push("1", {LABEL: label} if label else None)
    asked = settings(image=image, placement=T4)
    if says is None:
        assert check_cuda(asked) == []
    else:
        with pytest.raises(SettingsInvalid, match=says) as caught:
            check_cuda(asked)
        assert "--env FINETUNE_GPU=training" in caught.value.hint
    here.asked.clear()
    for untold in (
        {"env": {"FINETUNE_GPU": "training"}, "placement": T4},
        {"pull_policy": "Never", "placement": T4},
        {},
    ):
        assert check_cuda(settings(image=image, **untold)) == []
    assert here.asked == []


@pytest.mark.parametrize("fault", ["no such image", "nobody listens", "no answer", "not a registry"])
def test_a_registry_that_cannot_be_asked_is_told_and_nothing_more(
    here: Registry, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    image = here.push("1", {LABEL: "none"})
    if fault == "no such image":
        image = image.replace("team", "other")
    elif fault == "nobody listens":
        image = image.replace(here.host, "127.0.0.1:9")
    elif fault == "no answer":
        monkeypatch.setattr(registry, "TIMEOUT_S", 0.0)
    else:
        here.files["/v2/team/run/manifests/1"] = {"config": "a text"}
    (note,) = check_cuda(settings(image=image, placement=T4))
    assert note.startswith(f"the registry could not be asked whether {image} has CUDA: ")
