"""Asks an image's registry for the image's labels, with the credentials that docker has.

The calls are those of the OCI distribution specification (github.com/opencontainers/distribution-spec) and of
distribution's token authentication. A registry may be reachable from the cluster alone: nothing waits long for it.
"""

import base64
import json
import os
import re
import subprocess
import threading
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

TIMEOUT_S, CALL_S = 10.0, 5.0
"""For all calls, DNS and a credential helper included, and for one."""
LARGEST = 4 << 20
"""Bytes of a manifest, which registries limit to this, or of an image's configuration."""
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)  # fmt: skip
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?")


class NotAsked(Exception):
    """The labels are not known: the message says why."""


class Reference(NamedTuple):
    """`version`: a tag or a digest."""

    registry: str
    repository: str
    version: str


def labels_of(image: str) -> dict[str, str]:
    """The image's labels. Raises NotAsked."""
    found: list[dict[str, str] | NotAsked] = []

    def ask() -> None:
        try:
            found.append(_labels(reference(image)))
        except NotAsked as error:
            found.append(error)
        except (
            urllib3.exceptions.HTTPError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            found.append(NotAsked(type(error).__name__))  # its text may contain what was sent

    thread = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    thread.start()
    thread.join(TIMEOUT_S)
    if not found:
        raise NotAsked(f"no answer within {TIMEOUT_S:g} s")
    if isinstance(found[0], NotAsked):
        raise found[0]
    return found[0]


def reference(image: str) -> Reference:
    """Of a reference that names its registry."""
    name, _, digest = image.partition("@")
    registry, _, path = name.partition("/")
    repository, colon, tag = path.rpartition(":")
    repository = repository if colon else path
    if registry in ("docker.io", "index.docker.io"):
        registry, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
    return Reference(registry, repository, digest or (tag if colon else "latest"))


def _labels(image: Reference) -> dict[str, str]:
    session = _Session(image)
    manifest = session.get(f"manifests/{image.version}")
    if "manifests" in manifest:
        amd64 = {"os": "linux", "architecture": "amd64"}
        fitting = [one for one in manifest["manifests"] if amd64.items() <= one.get("platform", {}).items()]
        if not fitting:
            raise NotAsked("the image has no variant for linux/amd64")
        manifest = session.get(f"manifests/{fitting[0]['digest']}")
    config = session.get(f"blobs/{manifest['config']['digest']}")
    return {str(name): str(value) for name, value in (config.get("config", {}).get("Labels") or {}).items()}


class _Session:
    """Calls about one repository."""

    def __init__(self, image: Reference) -> None:
        self._image = image
        is_here = _LOOPBACK.fullmatch(image.registry)
        self._base = f"{'http' if is_here else 'https'}://{image.registry}/v2/{image.repository}"
        self._authorization: dict[str, str] = {}

    def get(self, path: str) -> dict[str, Any]:
        """A JSON object, signed in if the registry asks for it. Authorization does not follow to another host."""
        answer = _call(f"{self._base}/{path}", self._authorization)
        if answer.status == 401 and not self._authorization:
            self._authorization = self._sign_in(answer.headers.get("WWW-Authenticate", ""))
            answer = _call(f"{self._base}/{path}", self._authorization)
        return _json(answer)

    def _sign_in(self, challenge: str) -> dict[str, str]:
        """The header with which to ask again."""
        basic = _credentials(self._image.registry)
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and basic:
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = urlsplit(fields.pop("realm", ""))
        if scheme.lower() != "bearer" or not (realm.scheme == "https" or _LOOPBACK.fullmatch(realm.netloc)):
            raise NotAsked("it asks for a login that docker does not have")
        scope = fields.get("scope", f"repository:{self._image.repository}:pull")
        query = urlencode({"service": fields.get("service", ""), "scope": scope})
        token = _json(_call(f"{realm.geturl()}?{query}", basic))
        return {"Authorization": f"Bearer {token.get('token') or token['access_token']}"}


def _call(url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
    scheme, host = urlsplit(url).scheme, urlsplit(url).netloc
    proxy = None if _LOOPBACK.fullmatch(host) or proxy_bypass(host) else getproxies().get(scheme)
    pool = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
    retries = urllib3.Retry(connect=0, read=0, redirect=3)  # they drop Authorization at another host
    return pool.request(
        "GET", url, headers={"Accept": _ACCEPT} | headers, timeout=CALL_S, retries=retries, preload_content=False
    )


def _json(answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    if answer.status != 200:
        raise NotAsked(f"it answers {answer.status}")
    text = answer.read(LARGEST + 1)
    found = json.loads(text) if len(text) <= LARGEST else None
    if not isinstance(found, dict):
        raise NotAsked("its answer is not one of a registry")
    return found


def _credentials(registry: str) -> dict[str, str]:
    """A header with what docker has stored for it; empty if it has nothing."""
    key = "https://index.docker.io/v1/" if registry == "registry-1.docker.io" else registry
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
    stored = config.get("auths", {}).get(key, {}).get("auth")
    basic = _helped(str(helper), key) if helper else stored
    return {"Authorization": f"Basic {basic}"} if basic else {}


def _helped(helper: str, key: str) -> str | None:
    """What `docker-credential-HELPER get` says (github.com/docker/docker-credential-helpers)."""
    if not re.fullmatch(r"[\w.-]+", helper):
        return None
    command = [f"docker-credential-{helper}", "get"]
    done = subprocess.run(command, input=key, capture_output=True, encoding="utf-8", timeout=CALL_S, check=False)
    if done.returncode:
        return None
    said = json.loads(done.stdout)
    return base64.b64encode(f"{said['Username']}:{said['Secret']}".encode()).decode()
