"""The connection to the Kubernetes API: its configuration, and requests in JSON, with each failure translated.

kubernetes.client provides configuration, credentials and connection. Its models are not used, since `--dry-run`
prints plain JSON, which k8s/manifest/render.py makes.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.redaction import redact
from k8s.cluster import client_errors
from k8s.errors import AccessDenied, ClusterUnreachable

Object = dict[str, Any]
TIMEOUT_S = 30
ANSWERS_S = 10.0
"""Seconds without any answer, after which a server counts as unreachable."""
PAGE = 500


class Connection:
    """One API server as one user sees it, and a namespace in it."""

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        """From the kubeconfig, else from inside a pod. Raises ClusterUnreachable if there is neither, or if it cannot
        be used, and AccessDenied if its login fails."""
        with _not_installed("kubernetes_validate"):
            from kubernetes import client
        from kubernetes.config import ConfigException

        settings = client.Configuration()
        try:
            with _usable(), _logged_in():
                default = _from_kubeconfig(settings, context)
        except (ConfigException, StopIteration, FileNotFoundError) as error:
            default = _in_cluster(settings, context, error)
        settings.retries = False  # k8s/cluster/follow.py decides what to repeat
        self.namespace = namespace or default or "default"
        self.server = settings.host
        with _usable():
            self._api = client.ApiClient(settings)

    def call(self, verb: str, path: str, body: Any = None, **query: Any) -> Object:
        """Sends one request and returns its JSON. Raises the errors of k8s/cluster/client_errors.py."""
        reply = self._request(verb, path, body, query, timeout=TIMEOUT_S)
        found: Object = json.loads(reply.data)
        return found

    def stream(self, path: str, **query: Any) -> Iterator[bytes]:
        """The lines of a reply, as they come."""
        reply = self._request("GET", path, None, query, timeout=(ANSWERS_S, None))
        rest = b""
        try:
            for part in client_errors.translated_parts(reply, self.server):
                *lines, rest = (rest + part).split(b"\n")
                yield from lines
            if rest:
                yield rest
        finally:
            reply.close()

    def websocket(self, path: str, query: Sequence[tuple[str, str]]) -> Any:
        """An open websocket of websocket-client, e.g. to a pod's `exec`."""
        from kubernetes.stream.ws_client import create_websocket

        with client_errors.translated_websocket(self.server, path):
            _, url, headers, *_ = self._api.param_serialize(
                "GET", path, query_params=[*query], auth_settings=["BearerToken"]
            )
            url = url.replace("http", "ws", 1)
            found = create_websocket(self._api.configuration, url, headers)  # type: ignore[no-untyped-call]
        found.settimeout(TIMEOUT_S)
        return found

    def _request(self, verb: str, path: str, body: Any, query: Mapping[str, Any], timeout: Any) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            patches = verb == "PATCH"
            headers["Content-Type"] = "application/merge-patch+json" if patches else "application/json"
        asked = [(key, value) for key, value in query.items() if value is not None]
        with client_errors.translated(self.server):
            request = self._api.param_serialize(
                verb, path, query_params=asked, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            reply = self._api.call_api(*request, _request_timeout=timeout)
            if not 200 <= reply.status < 300:
                raise client_errors.of_status(reply.status, _all_of(reply), f"{verb} {path}", self.server)
            return reply.response

    def items(self, path: str, **query: Any) -> list[Object]:
        """A whole list, page by page."""
        found: list[Object] = []
        token = None
        while True:
            page = self.call("GET", path, limit=PAGE, **({"continue": token} if token else {}), **query)
            found += page["items"]
            if not (token := page["metadata"].get("continue")):
                return found


def _from_kubeconfig(settings: Any, context: str | None) -> str | None:
    """Fills in the settings; returns the context's namespace."""
    from kubernetes import config

    load: Any = config
    file = os.environ.get("KUBECONFIG") or None  # the library reads it only when it is imported
    load.load_kube_config(config_file=file, context=context, client_configuration=settings)
    active = load.list_kube_config_contexts(config_file=file)
    named = next(one for one in active[0] if one["name"] == context) if context else active[1]
    found: str | None = named["context"].get("namespace")
    return found


@contextmanager
def _usable() -> Iterator[None]:
    """Translates what the library raises of a kubeconfig that is none, or asks for what it does not have."""
    from yaml import YAMLError

    try:
        yield
    except FileNotFoundError:
        raise
    except (YAMLError, OSError, ValueError, TypeError, AttributeError, KeyError, ImportError) as error:
        why = redact(" ".join(str(error).split())[:300])
        raise ClusterUnreachable(
            f"the kubeconfig cannot be used: {type(error).__name__}: {why}",
            hint="Try `kubectl get jobs`, and make the file anew with your cloud's own tool. A SOCKS proxy needs "
            "`pip install pysocks`.",
        ) from error


@contextmanager
def _logged_in() -> Iterator[None]:
    """Raises AccessDenied for a login that fails: the library only logs it, and goes on as nobody."""
    heard: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    if heard:
        raise AccessDenied(
            f"the login of the kubeconfig fails: {redact(heard[0][:300])}",
            hint="Log in again with your cloud's own tool, then repeat the command.",
        )


@contextmanager
def _not_installed(name: str) -> Iterator[None]:
    """Hides a package while the block lasts. The library imports kubernetes-validate if it is there, only to have it:
    it compiles a grammar, which takes longer than any command here."""
    hidden: Any = None
    sys.modules.setdefault(name, hidden)
    try:
        yield
    finally:
        if sys.modules[name] is hidden:
            del sys.modules[name]


def _in_cluster(settings: Any, context: str | None, why: Exception) -> str:
    """Loads the configuration of a pod's service account; returns its namespace."""
    from kubernetes import config
    from kubernetes.config import ConfigException

    if context:
        raise ClusterUnreachable(f"--context: {why}", hint="`kubectl config get-contexts` lists them.") from why
    try:
        config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
    except ConfigException:
        raise ClusterUnreachable(
            f"no cluster is configured: {why}", hint="Set KUBECONFIG, or log in with your cloud's own tool."
        ) from why
    file = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    return file.read_text(encoding="utf-8").strip() if file.is_file() else "default"


def _all_of(reply: Any) -> bytes:
    return bytes(reply.read() or b"")
