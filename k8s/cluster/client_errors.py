"""What each failure of the Kubernetes API means, in one sentence, and what to do next.

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
    """Turns what kubernetes.client and urllib3 raise into the launcher's faults."""
    from kubernetes.client.exceptions import OpenApiException
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except (HTTPError, ConfigException, OpenApiException, OSError) as error:
        raise unreachable(server, error) from error


def translated_parts(reply: Any, server: str, size: int | None = None) -> Iterator[bytes]:
    """The parts of a streamed reply; a connection that breaks is ClusterUnreachable."""
    from urllib3.exceptions import HTTPError

    try:
        yield from reply.stream(amt=size, decode_content=False)
    except (HTTPError, OSError) as error:
        raise unreachable(server, error) from error


def unreachable(server: str, error: Exception) -> ClusterUnreachable:
    why = re.sub(r"^.*?(Failed to|\[Errno|\[SSL|Connection refused)", r"\1", str(error), flags=re.S)[:300]
    return ClusterUnreachable(
        f"the API server {server} does not answer: {why}",
        hint="Is the cluster up, and can this machine reach it (VPN, proxy, private endpoint)? Nothing was changed.",
    )


def of_status(status: int, reply: bytes, call: str, server: str) -> LauncherError:
    """The fault for a reply that is no success; its body is a metav1.Status."""
    try:
        body = json.loads(reply)
    except ValueError:
        body = {}
    said = str((body.get("message") if isinstance(body, dict) else None) or f"status {status}")
    if status == 401:
        return AccessDenied(
            f"{server} does not know you: your token is missing, wrong or expired",
            hint="Log in again with your cloud's own tool, then repeat the command.",
        )
    if status == 403:
        return _forbidden(said)
    if status == 404:
        found = _NAMED.search(said)
        what = f"{found['kind']} {found['name']!r}" if found else said
        return ObjectNotFound(f"there is no {what}", hint="Is it the right --namespace and --context?")
    if status == 409:
        return AlreadyThere(said, hint="Somebody else has changed it meanwhile; repeat the command.")
    if status in (400, 422):
        return SettingsInvalid(f"the API server refuses it: {said}", hint="`--dry-run` prints what was sent.")
    if status == 429 or status >= 500:
        return ClusterUnreachable(f"{server} answers {status}: {said}", hint="It is busy or ill; try again.")
    return LauncherBug(f"{call}: status {status}: {said}")


def _forbidden(said: str) -> LauncherError:
    found = _FORBIDDEN.search(said)
    if found:
        return AccessDenied(
            f"{found['user'] or 'this user'} may not {found['verb']} {found['resource']} here",
            hint="k8s/rbac.yaml has a Role with what the launcher needs; --platform does without reading nodes.",
        )
    if "exceeded quota" in said:
        return AdmissionRefused(f"a quota refuses it: {said}", hint="`kubectl describe quota` shows what is left.")
    if "violates PodSecurity" in said:
        return AdmissionRefused(f"Pod Security refuses it: {said}")
    if "is being terminated" in said:
        return AdmissionRefused(f"the namespace is being deleted: {said}", hint="Take another one, or wait.")
    return AdmissionRefused(f"an admission rule of this cluster refuses it: {said}")
