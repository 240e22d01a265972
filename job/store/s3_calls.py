"""Calls to one S3 bucket: retries temporary errors, and translates all others.

Temporary errors (no connection, 5xx, throttling) are retried by botocore and then here, with growing
pauses, for ten minutes or FINETUNE_RETRY_S seconds. The errors of job.errors name the object and
never contain a signature or a key.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event
from tenacity.stop import stop_after_delay, stop_when_event_set
from tenacity.wait import wait_exponential_jitter

from job.errors import (
    CredentialsRejected,
    EnvironmentUnfit,
    IntegrityViolated,
    JobError,
    NotFound,
    RemoteUnavailable,
    SpecInvalid,
    StorageFailed,
)
from job.logs import log
from job.redaction import redact
from job.store.s3_region import Region

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

# 409 is another write to the same object that is under way, whatever a server calls it.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_PASSING = {
    "SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "Throttling", "ThrottlingException",
    "TooManyRequests", "ConditionalRequestConflict", "OperationAborted", "BandwidthLimitExceeded",
}  # fmt: skip
_CREDENTIALS = {
    "ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "AccessDenied", "AccountProblem", "AllAccessDisabled", "InvalidSecurity", "NotSignedUp", "XAdminUserNotFound",
}  # fmt: skip
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_BELOW_AN_OBJECT = {
    "ObjectParentIsFile",  # versitygw
    "ExistingObjectIsDirectory",
    "XMinioParentIsObject",
    "XMinioObjectExistsAsDirectory",
}
"""On servers that keep objects as files, a key cannot be both an object and a prefix."""
_FULL = {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge"}
_DAMAGED = {"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}


def status_of(error: "ClientError") -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _strip_variables() -> None:
    """Removes white space around AWS's variables: the line end that a Secret made from a file has would be a part of a
    key, which then cannot be sent, or does not fit its signature."""
    for name, value in list(os.environ.items()):
        if name.startswith("AWS_") and value != value.strip():
            os.environ[name] = value.strip()


class _Passing(Exception):
    """A temporary error: worth another try."""


class Calls:
    """Calls to one bucket. `proven`: the credentials have worked, so a refusal from now on means that they expired."""

    def __init__(self, bucket: str, session: Any = None, patience_s: float | None = None, proven: bool = False) -> None:
        self.bucket, self.proven = bucket, proven
        self._region = Region(bucket)
        self.patience_s = float(os.environ.get("FINETUNE_RETRY_S") or 600) if patience_s is None else patience_s
        self._session = session
        self._client: S3Client | None = None
        self._lock = threading.Lock()

    def patient_for(self, seconds: float) -> "Calls":
        return Calls(self.bucket, self._session, seconds, self.proven)

    def client(self) -> "S3Client":
        """The client, created at the first call: until then nothing is imported and no configuration is read."""
        import boto3
        from botocore.config import Config

        with self._lock:
            if self._client is None:
                if self._session is None:
                    _strip_variables()
                    self._session = boto3.session.Session()
                hurried = self.patience_s < 60
                made: S3Client = self._session.client(
                    "s3",
                    region_name=self._region.known,
                    config=Config(
                        retries={"mode": "standard", "total_max_attempts": 1 if hurried else 3},
                        connect_timeout=min(10.0, max(1.0, self.patience_s)),
                        read_timeout=min(60.0, max(1.0, self.patience_s)),
                        max_pool_connections=16,
                    ),
                )
                self._region.listen(made)
                self._client = made
            return self._client

    def _moves(self, error: "ClientError | None" = None) -> bool:
        """Whether the bucket is in another region than the client, which is then replaced."""
        if not self._region.differs(self.client(), self._session.region_name, error):
            return False
        with self._lock:
            self._client = None
        return True

    def run(self, what: str, key: str, call: Callable[["S3Client"], T], stop: threading.Event | None = None) -> T:
        """Makes a call, and retries temporary errors until `stop` is set.

        The answers 404 (no such object), 412 and 501 are raised as ClientError: their meaning depends on
        the call.
        """
        where = f"{what} s3://{self.bucket}/{key}"
        stop = stop or threading.Event()

        def tell(state: RetryCallState) -> None:
            why = str(state.outcome.exception()) if state.outcome else ""
            waited = round(state.seconds_since_start or 0)
            log.warning("s3.waiting", what=where, why=why, tries=state.attempt_number, waited_s=waited)

        tries = Retrying(
            retry=retry_if_exception_type(_Passing),
            stop=stop_after_delay(self.patience_s) | stop_when_event_set(stop),
            wait=wait_exponential_jitter(multiplier=0.2, max=15, jitter=0.5),
            sleep=sleep_using_event(stop),
            before_sleep=tell,
            reraise=True,
        )
        try:
            result: T = tries(self._once, where, call)
            return result
        except _Passing as error:
            raise RemoteUnavailable(
                f"{where}: {error}, for {self.patience_s:.0f} s",
                hint="Start the job again when S3 answers; finished work in the store is not repeated.",
            ) from error

    def _once(self, where: str, call: Callable[["S3Client"], T]) -> T:
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            result = call(self.client())
            if self._region.told:
                self._moves()
            return result
        except boto.ClientError as error:
            if self._moves(error):
                return self._once(where, call)
            fault = self._fault_of(where, error)
            if fault is None:
                raise
            raise fault from error
        except (boto.NoCredentialsError, boto.PartialCredentialsError) as error:
            raise CredentialsRejected(
                f"{where}: {redact(str(error))}",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role.",
            ) from error
        except boto.FlexibleChecksumError as error:
            raise IntegrityViolated(
                f"{where}: {error}", hint="The server's copy is damaged. Delete it; the next run makes it again."
            ) from error
        except (
            boto.HTTPClientError,
            boto.ConnectionError,
            boto.IncompleteReadError,
            boto.CredentialRetrievalError,
            boto.MetadataRetrievalError,
            ResponseParserError,
            HTTPError,
            ConnectionError,
            TimeoutError,
        ) as error:
            raise _Passing(redact(str(error))) from error
        except (boto.BotoCoreError, ValueError) as error:
            raise EnvironmentUnfit(
                f"{where}: {redact(str(error))}", hint="Check the AWS_* variables: endpoint, region, profile."
            ) from error

    def _fault_of(self, where: str, error: "ClientError") -> JobError | _Passing | None:
        """The error for an answer; None if its meaning depends on the call."""
        said = error.response["Error"]
        code, status = said.get("Code", ""), status_of(error)
        text = redact(f"{where}: {code} {said.get('Message', '')}".rstrip())
        if code in _FULL or status == 507:
            return StorageFailed(text, hint="Free space there, then start the job again.")
        below = code in _BELOW_AN_OBJECT  # some servers say 409
        if not below and (code in _PASSING or status in (408, 409, 429) or (status >= 500 and status != 501)):
            return _Passing(text.removeprefix(f"{where}: "))
        if code == "NoSuchBucket":
            return NotFound(text, hint=f"Create the bucket {self.bucket!r}, or correct its name or the endpoint.")
        if code in _DAMAGED:
            return StorageFailed(text, hint="The data was damaged on the way. The next attempt sends it again.")
        if code in _REGION or status == 301:
            return EnvironmentUnfit(text, hint="Set AWS_DEFAULT_REGION to the bucket's region.")
        if code in _BELOW_AN_OBJECT:
            return SpecInvalid(
                text,
                hint=f"Name another prefix: s3://{self.bucket} holds an object where this server needs a folder.",
            )
        if code == "RequestTimeTooSkewed":
            return StorageFailed(  # counted and tried again: another node has another clock
                text, hint="Set this machine's clock: S3 refuses a difference of more than 15 minutes."
            )
        if status in (404, 412, 501) and code not in _CREDENTIALS:
            return None
        if code in _CREDENTIALS or status in (401, 403):
            if self.proven:
                return RemoteUnavailable(
                    text,
                    hint="The credentials worked before, so they may have expired. Renew them and start the job again.",
                )
            return CredentialsRejected(
                text,
                hint="Correct the keys or the role. It needs s3:GetObject, s3:PutObject and s3:ListBucket there.",
            )
        if status == 400 and not self.proven:  # HEAD has no more words for a wrong region
            return EnvironmentUnfit(text, hint="Check AWS_DEFAULT_REGION and AWS_ENDPOINT_URL.")
        return RemoteUnavailable(text)
