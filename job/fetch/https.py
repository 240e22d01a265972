"""Downloads files over https, with a limit on their size; a file appears only when it is complete."""

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import tenacity
import urllib3

from job import network
from job.artifacts import digest_of, written_whole
from job.errors import CredentialsRejected, DataInvalid, NotFound, RemoteUnavailable
from job.logs import Progress
from job.spec.places import shown_place

SIZE_LIMIT = 200 << 30  # bytes
REDIRECTS = 5
FIRST_WAIT_S = 0.5
TIMEOUT = urllib3.Timeout(connect=20, read=60)
_PASSING = (429, 500, 502, 503, 504)
Found = TypeVar("Found")


class _Again(Exception):
    """A temporary error: worth another try."""


def download(url: str, path: Path) -> None:
    """Downloads `url` to `path`. Raises NotFound, CredentialsRejected, DataInvalid (too large, or a redirect away
    from https), SpecInvalid (a private host that is not allowed) and RemoteUnavailable after five tries."""
    _retried(url, lambda: _once(url, lambda reply, at: _write(reply, path, at)))


def state_of(url: str) -> str:
    """What the server says of the content of an address, hashed: it changes when the content does. Of a server that
    says nothing, something new each time. Raises what `download` does."""
    headers = _retried(url, lambda: _once(url, lambda reply, _: reply.headers))
    told = [headers.get(name) for name in ("ETag", "Last-Modified", "Content-Length")]
    return digest_of(told)[:16] if any(told[:2]) else secrets.token_hex(8)


def _retried(url: str, ask: Callable[[], Found]) -> Found:
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(5),
        wait=tenacity.wait_exponential(multiplier=FIRST_WAIT_S, max=30),
        retry=tenacity.retry_if_exception_type((_Again, urllib3.exceptions.HTTPError)),
        reraise=True,
    )
    try:
        return again(ask)
    except (_Again, urllib3.exceptions.HTTPError) as error:
        raise RemoteUnavailable(f"cannot download {shown_place(url)}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """A library's error, without the query of an address in it."""
    return re.sub(r"\?[^\s'\")]*", "", f"{type(error).__name__} {error}")


def _once(url: str, use: Callable[[urllib3.BaseHTTPResponse, str], Found]) -> Found:
    """What `use` makes of the reply and the address that redirects lead to. Not HEAD, to see the headers alone: some
    servers do not know it, and an address may be signed for GET."""
    pool = network.pool_for(url, timeout=TIMEOUT)
    for _ in range(REDIRECTS):
        reply = pool.request("GET", url, preload_content=False, redirect=False, retries=False)
        try:
            if reply.status in (301, 302, 303, 307, 308):
                url = _followed(url, reply.headers.get("Location", ""))
                continue
            _check(reply.status, url)
            return use(reply, url)
        finally:
            reply.close()  # its content may not have been read
    raise DataInvalid(f"{shown_place(url)} redirects in a loop")


def _followed(url: str, target: str) -> str:
    try:
        new = urljoin(url, target)
        scheme = urlsplit(new).scheme
    except ValueError as error:
        raise DataInvalid(f"{shown_place(url)} redirects to something that is not an address") from error
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise DataInvalid(f"{shown_place(url)} redirects away from https, to {shown_place(new)}")
    return new


def _check(status: int, url: str) -> None:
    if status in _PASSING:
        raise _Again(f"status {status}")
    if status in (401, 403):
        raise CredentialsRejected(
            f"{shown_place(url)} answers {status}", hint="If the address is signed, it may have expired: use a new one."
        )
    if status != 200:
        raise NotFound(f"{shown_place(url)} answers {status}")


def _write(reply: urllib3.BaseHTTPResponse, path: Path, url: str) -> None:
    total = reply.length_remaining or 0  # none if its Content-Length is not a number
    bar = Progress(f"downloading {path.name}", total or None, "bytes")
    done = 0
    with written_whole(path) as temporary, temporary.open("wb") as file:
        for block in reply.stream(1 << 20, decode_content=False):
            done += len(block)
            if done > SIZE_LIMIT:
                raise DataInvalid(f"{shown_place(url)} is larger than {SIZE_LIMIT >> 30} GiB")
            file.write(block)
            bar.update(done)
        if total and done != total:
            raise _Again(f"{done} of {total} bytes arrived")
