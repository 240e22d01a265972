"""The region of a bucket, as its server tells it.

A bucket's own region is used, whatever AWS_DEFAULT_REGION says: one run may use buckets of several regions. botocore
follows an error that names the region by itself, but only for the client that got it, and not after a HEAD, whose
answer has no body.
"""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from job.logs import log

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

_known: dict[tuple[str | None, str], str] = {}
"""The regions that servers have told this process, by endpoint and bucket."""


class Region:
    """Of one bucket. `told`: the region that an error named since the client was made."""

    def __init__(self, bucket: str) -> None:
        self._bucket, self.told = bucket, ""

    @property
    def known(self) -> str | None:
        return _known.get((os.environ.get("AWS_ENDPOINT_URL"), self._bucket))

    def listen(self, client: "S3Client") -> None:
        """Hears errors before botocore follows them."""
        client.meta.events.register_first("needs-retry.s3", self._hear)

    def _hear(self, response: Any = None, **_: Any) -> None:
        answer = response[1] if response else {}
        if error := answer.get("Error"):
            told = error.get("Region") or answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
            self.told = told or self.told

    def differs(self, client: "S3Client", given: str | None, error: "ClientError | None" = None) -> bool:
        """Whether the bucket is in another region than the client. `given`: the region of the environment; `error`:
        what a call was answered, if it failed."""
        from botocore.exceptions import BotoCoreError, ClientError

        if error is not None and error.response["ResponseMetadata"]["HTTPStatusCode"] not in (301, 400):
            return False
        if error is not None and not self.told:
            with suppress(ClientError, BotoCoreError):
                client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        told, self.told = self.told, ""
        if not told or told == client.meta.region_name:
            return False
        if self.known != told:
            _known[os.environ.get("AWS_ENDPOINT_URL"), self._bucket] = told
            self._tell(told, given)
        return True

    def _tell(self, region: str, given: str | None) -> None:
        what = f"s3://{self._bucket} is in {region}, which is used for it"
        if given is None:
            log.info("s3.region", bucket=self._bucket, region=region, what=what)
            return
        what += f"; AWS_DEFAULT_REGION or the profile says {given}. Transfers between regions are slow and cost money"
        log.warning("s3.region", bucket=self._bucket, region=region, given=given, what=what)
