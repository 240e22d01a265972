"""Translates failures of the Kubernetes API: what happened in one sentence, and what to do next.

Status codes and reasons: https://kubernetes.io/docs/reference/using-api/api-concepts/ and `metav1.Status`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from k8s.errors import (
    AccessDenied,
    AdmissionRefused,
    AlreadyThere,
    ClusterUnreachable,
    LauncherBug,
    LauncherError,
    ObjectNotFound,
    SettingsInvalid,
)

_FORBIDDEN = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>\w+) resource "(?P<resource>[^"]*)"')
_NAMED = re.compile(r'(?P<kind>[\w.]+) "(?P<name>[^"]*)" not found')


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Translates the errors of kubernetes.client and urllib3 into the launcher's."""
    from kubernetes.client.exceptions import OpenApiException
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (HTTPError, ConfigException, OpenApiException, OSError) as error:
        raise unreachable(server, error) from error


def translated_parts(reply: Any, server: str) -> Iterator[bytes]:
    """The parts of a streamed reply. A broken connection raises ClusterUnreachable."""
    from urllib3.exceptions import HTTPError

    try:
        yield from reply.stream(decode_content=False)
    except (HTTPError, OSError) as error:
        raise unreachable(server, error) from error


@contextmanager
def translated_websocket(server: str, path: str) -> Iterator[None]:
    """Translates the errors of websocket-client, also a refused handshake, which has a metav1.Status as its body."""
    from websocket import WebSocketBadStatusException, WebSocketException

    try:
        with translated(server):
            yield
    except WebSocketBadStatusException as error:
        raise of_status(error.status_code, error.resp_body or b"", f"GET {path}", server) from error
    except WebSocketException as error:
        raise unreachable(server, error) from error


def unreachable(server: str, error: Exception) -> ClusterUnreachable:
    why = re.sub(r"^.*?(Failed to|\[Errno|\[SSL|Connection refused)", r"\1", str(error), flags=re.S)[:300]
    return ClusterUnreachable(
        f"the API server {server} does not answer: {why}",
        hint="Check that the cluster is up and reachable (VPN, proxy, private endpoint). Nothing was changed.",
    )


def of_status(status: int, reply: bytes, call: str, server: str) -> LauncherError:
    """The error for an unsuccessful reply, whose body is a metav1.Status."""
    try:
        body = json.loads(reply)
    except ValueError:
        body = {}
    said = str((body.get("message") if isinstance(body, dict) else None) or f"status {status}")
    if status == 401:
        return AccessDenied(
            f"{server} does not accept your login: the token is missing, wrong or expired",
            hint="Log in again with your cloud's own tool, then repeat the command.",
        )
    if status == 403:
        return _forbidden(said)
    if status == 404:
        found = _NAMED.search(said)
        what = f"{found['kind']} {found['name']!r}" if found else said
        return ObjectNotFound(f"there is no {what}", hint="Check --namespace and --context.")
    if status == 409:
        return AlreadyThere(said, hint="Someone else has changed it meanwhile; repeat the command.")
    if status in (400, 422):
        return SettingsInvalid(f"the API server refuses it: {said}", hint="`--dry-run` prints what was sent.")
    if status == 429 or status >= 500:
        return ClusterUnreachable(
            f"{server} answers {status}: {said}", hint="It is overloaded or has an internal error; try again."
        )
    return LauncherBug(f"{call}: status {status}: {said}")


def _forbidden(said: str) -> LauncherError:
    found = _FORBIDDEN.search(said)
    if found:
        return AccessDenied(
            f"{found['user'] or 'this user'} is not allowed to {found['verb']} {found['resource']} here",
            hint="k8s/rbac.yaml has a Role with the rights of the launcher. With --platform it need not read nodes.",
        )
    if "must specify limits.cpu" in said:
        return AdmissionRefused(
            f"a quota refuses it: {said}", hint="Set --cpu-limit, e.g. 4 (in the chart: resources.cpuLimit)."
        )
    if "exceeded quota" in said:
        return AdmissionRefused(f"a quota refuses it: {said}", hint="`kubectl describe quota` shows what is left.")
    if "violates PodSecurity" in said:
        return AdmissionRefused(f"Pod Security refuses it: {said}")
    if "is being terminated" in said:
        return AdmissionRefused(f"the namespace is being deleted: {said}", hint="Use another namespace, or wait.")
    return AdmissionRefused(f"an admission rule of this cluster refuses it: {said}")
