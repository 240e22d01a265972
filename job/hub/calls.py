"""Calls to the Hub: the endpoint, the token, retries, and translated errors.

huggingface_hub reads its settings when it is imported and passes some errors on untranslated. Here the
endpoint and the token are read at each call and passed explicitly, every call is retried while the Hub is
busy or unreachable, and what remains is an error of `job.errors`.
"""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import tenacity

from job.artifacts import Frozen
from job.errors import CredentialsRejected, EnvironmentUnfit, JobError, NotFound, RemoteUnavailable, StorageFailed
from job.library_warnings import forward
from job.logs import log
from job.redaction import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Kind = Literal["model", "dataset"]
T = TypeVar("T")

TRIES = 6
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LONGEST_RETRY_AFTER_S = 900.0
"""Seconds. If the Hub asks for a longer pause, it is reported as unavailable: the Job's next attempt comes later."""

STALL_S = 120.0
"""Seconds without a byte in either direction, or without an answer, after which a transfer has failed."""
STALLS = 2
"""So many tries of one call may end that way: the client tries each request again by itself before."""

_BUSY = {408, 425, 429, 500, 502, 503, 504}


class Repo(Frozen):
    """A repository on the Hub."""

    id: str
    kind: Kind = "model"
    revision: str | None = None

    def __str__(self) -> str:
        at = f" at {self.revision}" if self.revision else ""
        return f"the {'data set' if self.kind == 'dataset' else 'model'} {self.id}{at} on {endpoint()}"

    @property
    def page(self) -> str:
        return f"{endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


class Incomplete(Exception):
    """A download ended without an error and without its file."""


def endpoint() -> str:
    """HF_ENDPOINT (a mirror, an Enterprise Hub), else the public Hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def token() -> str | None:
    """HF_TOKEN, else the file that HF_TOKEN_PATH names, else the one that `hf auth login` writes."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if value := os.environ.get(name, "").strip():
            return value
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    path = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def api() -> "HfApi":
    """The client, with endpoint and token. It also retries by itself, which it warns of."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    _limit_waiting(STALL_S)
    disable_progress_bars()
    logging.set_verbosity_warning()  # type: ignore[no-untyped-call]
    logging.get_logger("huggingface_hub").handlers.clear()  # they write to stderr
    logging.enable_propagation()
    forward()
    return HfApi(endpoint=endpoint(), token=token() or False)


@functools.lru_cache(maxsize=1)
def _limit_waiting(stall_s: float) -> None:
    """The client itself waits for ever (huggingface_hub/utils/_http.py, timeout=None, which some calls repeat); hf_xet,
    which moves large files, has limits of its own, which it reads from the environment (xet-core, xet_config)."""
    import httpx2
    from huggingface_hub.utils._http import default_client_factory, set_client_factory

    def client() -> httpx2.Client:
        made = default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = hooks | {"request": [*hooks["request"], limit]}
        return made

    def limit(request: httpx2.Request) -> None:
        asked = request.extensions.get("timeout", {})
        request.extensions["timeout"] = {
            part: asked.get(part) or stall_s for part in ("connect", "read", "write", "pool")
        }

    set_client_factory(client)
    os.environ.setdefault("HF_XET_CLIENT_READ_TIMEOUT", f"{stall_s:g}s")
    os.environ.setdefault("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", str(STALLS))


def call(what: str, repo: Repo, function: Callable[[], T], also_on: frozenset[int] = frozenset()) -> T:
    """Runs a call until it succeeds or raises a JobError. `what` completes "could not …", e.g. "list the files of".

    Retried, with growing pauses or the one that Retry-After asks for: timeouts, lost connections, 429,
    5xx, and the statuses in `also_on`. Raises NotFound, CredentialsRejected, RemoteUnavailable, StorageFailed
    or EnvironmentUnfit.
    """
    import httpx2
    from huggingface_hub.errors import XetDownloadError

    retrying = tenacity.Retrying(
        stop=lambda state: state.attempt_number >= (STALLS if _has_stalled(state) else TRIES),
        wait=_pause,
        retry=tenacity.retry_if_exception(lambda error: _may_pass(error) or status_of(error) in also_on),
        before_sleep=lambda state: _tell(what, repo, state),
        reraise=True,
    )
    try:
        return retrying(function)
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError, XetDownloadError, Incomplete) as error:
        raise translated(what, repo, error) from error


def _has_stalled(state: tenacity.RetryCallState) -> bool:
    import httpx2

    error = state.outcome.exception() if state.outcome else None
    return any(isinstance(one, (httpx2.TimeoutException, TimeoutError)) for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes: the client wraps the Hub's answers."""
    while error is not None:
        yield error
        error = error.__cause__


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, if there is one."""
    response = next((e.response for e in _chain(error) if getattr(e, "response", None) is not None), None)  # type: ignore[attr-defined]
    return response.status_code if response is not None else None


def _may_pass(error: BaseException) -> bool:
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled, XetDownloadError

    if any(isinstance(one, (JobError, OfflineModeIsEnabled)) for one in _chain(error)):
        return False
    status = status_of(error)
    if status is not None:
        return status in _BUSY and (_retry_after(error) or 0) <= LONGEST_RETRY_AFTER_S
    passing = (httpx2.TransportError, XetDownloadError, Incomplete, ConnectionError, TimeoutError)  # hf_xet's are bare
    if any(isinstance(one, passing) for one in _chain(error)):
        return True
    # The client's own check of a file's size raises a bare OSError.
    return any(type(one) is OSError and one.errno is None for one in _chain(error))


def _retry_after(error: BaseException | None) -> float | None:
    for one in _chain(error):
        response = getattr(one, "response", None)
        value = response.headers.get("Retry-After", "") if response is not None else ""
        if value.strip().isdigit():
            return float(value)
    return None


def _pause(state: tenacity.RetryCallState) -> float:
    asked = _retry_after(state.outcome.exception() if state.outcome else None)
    if asked is not None:
        return asked
    return tenacity.wait_exponential_jitter(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S, jitter=FIRST_WAIT_S)(state)


def _tell(what: str, repo: Repo, state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    why = _said(error) if error else ""
    wait = round(state.next_action.sleep, 1) if state.next_action else 0
    log.warning("hub.retry", what=f"{what} {repo}", why=why, wait_s=wait, tries=state.attempt_number)


def _said(error: BaseException) -> str:
    """The Hub's message, without addresses, which may be signed."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if response is not None:
            text = getattr(one, "server_message", None) or response.reason_phrase
            return redact(f"{response.status_code} {text}"[:300])
    last = list(_chain(error))[-1]
    return redact(f"{type(last).__name__}: {last}"[:300])


def translated(what: str, repo: Repo, error: BaseException) -> JobError:
    """The JobError that stands for an error of the client."""
    from huggingface_hub import errors

    chain = list(_chain(error))

    def is_a(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in chain)

    subject, status = f"could not {what} {repo}", status_of(error)
    if is_a(errors.GatedRepoError):
        return CredentialsRejected(
            f"{subject}: it is gated, and {_who()} has not been granted access",
            hint=f"Open {repo.page} with that account, accept the licence there, and start again."
            + ("" if token() else " Then set HF_TOKEN to a token of that account."),
        )
    if status == 401 and token():
        return CredentialsRejected(
            f"{subject}: the Hub does not accept the token (401)",
            hint=f"It may have expired or been revoked. Make a new one at {endpoint()}/settings/tokens.",
        )
    if is_a(errors.RevisionNotFoundError):
        return NotFound(
            f"{subject}: there is no such branch, tag or commit", hint=f"{repo.page}/tree/main lists those that exist."
        )
    if is_a(errors.RemoteEntryNotFoundError):
        return NotFound(f"{subject}: there is no such file")
    if is_a(errors.RepositoryNotFoundError) or status in (401, 404):
        missing = "the token cannot read it" if token() else "there is no token: HF_TOKEN is not set"
        return NotFound(
            f"{subject}: it does not exist, or it is private and {missing}",
            hint=f"Open {repo.page} in a browser to check. If it is private, set HF_TOKEN to a token that can read it.",
        )
    if is_a(errors.DisabledRepoError):
        return NotFound(f"{subject}: the Hub has disabled it")
    if status == 403:
        return CredentialsRejected(
            f"{subject}: the Hub forbids it to {_who()} ({_said(error)})",
            hint=f"Give the token the right to do it at {endpoint()}/settings/tokens.",
        )
    return _not_reached(subject, status, chain)


def _not_reached(subject: str, status: int | None, chain: list[BaseException]) -> JobError:
    """The errors of the connection, the disk or a busy Hub."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    said = _said(chain[0])
    if any(isinstance(one, OfflineModeIsEnabled) for one in chain):
        return EnvironmentUnfit(f"{subject}: HF_HUB_OFFLINE is set", hint="Unset it, or set model.id to a folder.")
    local = next((e for e in chain if isinstance(e, OSError) and e.errno is not None and status is None), None)
    if local is not None and not isinstance(local, ConnectionError | TimeoutError):
        where = f" ({local.filename})" if local.filename else ""
        return StorageFailed(
            f"{subject}: {local.strerror}{where}", hint="Free space, or set FINETUNE_WORK to another folder."
        )
    if status == 429:
        return RemoteUnavailable(f"{subject}: too many requests (429)", hint="Start it again later.")
    if status is not None:
        return RemoteUnavailable(f"{subject}: {said}", hint="See https://status.huggingface.co; try again later.")
    return RemoteUnavailable(
        f"{subject}: {endpoint()} cannot be reached ({said})",
        hint="Check the pod's egress, its proxy (HTTPS_PROXY) and HF_ENDPOINT.",
    )


def _who() -> str:
    return "the account of this token" if token() else "a request without a token"
