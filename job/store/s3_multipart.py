"""One file to S3 in parts, several at a time, each with its SHA-256.

The checksum that S3 keeps of such an object is the SHA-256 over the parts' SHA-256 values, followed by
their number (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html), so it can be
computed beforehand from the file and the part size.
"""

import base64
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from job.errors import JobError
from job.logs import log
from job.store.base import Progress
from job.store.s3_calls import Calls

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_SIZE = 16 << 20
"""Bytes per part. Larger for a file that would have more than 9000 parts (S3 allows 10000)."""
AT_ONCE = 4


@dataclass(frozen=True)
class Hashes:
    """A file's size, its SHA-256 (hex), and the SHA-256 of each part."""

    size: int
    sha256: str
    part_size: int
    parts: tuple[bytes, ...]

    @property
    def checksum(self) -> str:
        """The value that S3 reports as ChecksumSHA256."""
        if len(self.parts) == 1:
            return _base64(bytes.fromhex(self.sha256))
        return f"{_base64(hashlib.sha256(b''.join(self.parts)).digest())}-{len(self.parts)}"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def hashes_of(path: Path, part_size: int) -> Hashes:
    """Reads a file once. An empty file has one empty part."""
    size = path.stat().st_size
    while size > part_size * 9000:
        part_size *= 2
    whole = hashlib.sha256()
    parts: list[bytes] = []
    with path.open("rb") as file:
        while not parts or len(parts) * part_size < size:
            block = file.read(part_size)
            whole.update(block)
            parts.append(hashlib.sha256(block).digest())
    return Hashes(size, whole.hexdigest(), part_size, tuple(parts))


def upload(
    calls: Calls, key: str, path: Path, hashes: Hashes, options: dict[str, Any], progress: Progress | None
) -> None:
    """Sends the parts and completes the upload; on a failure it is aborted and nothing is left.

    If the reply to the last step was lost, the object may exist all the same: the caller checks that.
    """
    from botocore.exceptions import ClientError

    made = calls.run(
        "starting an upload to",
        key,
        lambda s3: s3.create_multipart_upload(Bucket=calls.bucket, Key=key, ChecksumAlgorithm="SHA256", **options),
    )
    number = made["UploadId"]
    try:
        parts = _send(calls, key, path, hashes, number, progress)
        try:
            calls.run(
                "completing",
                key,
                lambda s3: s3.complete_multipart_upload(
                    Bucket=calls.bucket, Key=key, UploadId=number, MultipartUpload={"Parts": parts}
                ),
            )
        except ClientError as error:
            # 404: the upload is gone, so an earlier try, whose reply was lost, has completed it.
            log.warning("s3.reply_lost", key=key, why=error.response["Error"].get("Code"))
    except BaseException:
        _abort(calls.patient_for(5), key, number)
        raise


def _send(
    calls: Calls, key: str, path: Path, hashes: Hashes, upload_id: str, progress: Progress | None
) -> "list[CompletedPartTypeDef]":
    stop = threading.Event()

    def send(index: int, descriptor: int) -> "CompletedPartTypeDef":
        body = os.pread(descriptor, hashes.part_size, index * hashes.part_size)
        checksum = _base64(hashes.parts[index])
        reply = calls.run(
            f"sending part {index + 1} of {len(hashes.parts)} to",
            key,
            lambda s3: s3.upload_part(
                Bucket=calls.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=index + 1,
                Body=body,
                ChecksumSHA256=checksum,
            ),
            stop,
        )
        if progress:
            with lock:
                sent[0] += len(body)
                progress(sent[0])
        return {"PartNumber": index + 1, "ETag": reply["ETag"], "ChecksumSHA256": checksum}

    sent, lock = [0], threading.Lock()
    with path.open("rb") as file, ThreadPoolExecutor(AT_ONCE, thread_name_prefix="s3") as pool:
        futures = [pool.submit(send, index, file.fileno()) for index in range(len(hashes.parts))]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _abort(calls: Calls, key: str, upload_id: str) -> None:
    from botocore.exceptions import ClientError

    try:
        calls.run(
            "aborting the upload to",
            key,
            lambda s3: s3.abort_multipart_upload(Bucket=calls.bucket, Key=key, UploadId=upload_id),
        )
    except (JobError, ClientError) as error:
        log.warning("s3.upload_left", key=key, why=str(error).splitlines()[0])
