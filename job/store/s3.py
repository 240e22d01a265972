"""A store below an S3 prefix, through boto3, with its own lookup of endpoint, region and credentials.

Every upload carries its SHA-256, so the server refuses damaged data; afterwards its checksum is compared, or the object
is read back if the server keeps no checksums. Large files are sent in parts, and nothing is visible before the last
step. The parts of an upload whose process was killed never become visible, but take space until a lifecycle rule
(AbortIncompleteMultipartUpload) removes them.
"""

import base64
import hashlib
import mimetypes
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from job.artifacts import Artifact, check_name
from job.errors import Bug, IntegrityViolated, JobError, NotFound, RemoteUnavailable
from job.logs import log
from job.store.base import BLOCK, Conflict, Head, Progress, check_condition, receive_file
from job.store.s3_calls import Calls, status_of
from job.store.s3_multipart import PART_SIZE, Hashes, hashes_of, upload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef, HeadObjectOutputTypeDef


class S3Store:
    """`job.store.base.Store` below `s3://bucket/prefix`. `part_size` in bytes, 5 MiB at least; else PART_SIZE."""

    def __init__(self, url: str, *, part_size: int | None = None, calls: Calls | None = None) -> None:
        self.url = url.rstrip("/")
        self.conditional: bool | None = None
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        self._below = f"{prefix}/" if prefix else ""
        self._part_size = part_size or PART_SIZE
        self._calls = calls or Calls(bucket)
        self._bucket = bucket

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        from botocore.exceptions import ClientError

        condition: dict[str, Any] = {}
        if self.conditional is False and (if_absent or if_match is not None):
            check_condition(key, data, self.get(key), if_absent, if_match)
        elif if_absent:
            condition = {"IfNoneMatch": "*"}
        elif if_match is not None:
            condition = {"IfMatch": if_match}
        full, checksum = self._full(key), base64.b64encode(hashlib.sha256(data).digest()).decode()
        options = {**_type_of(key), **condition}
        try:
            reply = self._calls.run(
                "writing",
                full,
                lambda s3: s3.put_object(Bucket=self._bucket, Key=full, Body=data, ChecksumSHA256=checksum, **options),
            )
        except ClientError as error:
            if condition and status_of(error) == 501:
                self.conditional = False
                return self.put(key, data, if_absent=if_absent, if_match=if_match)
            # An earlier try whose reply was lost may have written it: then it holds our bytes.
            found = self.get(key)
            if found is None or found[0] != data:
                raise Conflict(key) from error
            return found[1]
        return reply["ETag"]

    def get(self, key: str) -> tuple[bytes, str] | None:
        from botocore.exceptions import ClientError

        full = self._full(key)

        def read(s3: "S3Client") -> tuple[bytes, str]:
            reply = s3.get_object(Bucket=self._bucket, Key=full)
            with closing(reply["Body"]) as body:
                return body.read(), reply["ETag"]

        try:
            return self._calls.run("reading", full, read)
        except ClientError:
            return None

    def start_of(self, key: str, count: int) -> bytes:
        from botocore.exceptions import ClientError

        full = self._full(key)

        def read(s3: "S3Client") -> bytes:
            reply = s3.get_object(Bucket=self._bucket, Key=full, Range=f"bytes=0-{count - 1}")
            with closing(reply["Body"]) as body:
                return body.read(count)

        try:
            return self._calls.run("reading", full, read)
        except ClientError:
            return b""

    def put_file(self, key: str, path: Path, progress: Progress | None = None) -> Artifact:
        full, hashes = self._full(key), hashes_of(path, self._part_size)
        done = Artifact(path=key, sha256=hashes.sha256, size=hashes.size)
        if self._holds(key, hashes):
            return done
        options: dict[str, Any] = {**_type_of(key), "Metadata": {"sha256": hashes.sha256}}
        if len(hashes.parts) == 1:
            body = path.read_bytes()
            options["ChecksumSHA256"] = hashes.checksum
            self._calls.run(
                "writing", full, lambda s3: s3.put_object(Bucket=self._bucket, Key=full, Body=body, **options)
            )
            if progress:
                progress(len(body))
        else:
            upload(self._calls, full, path, hashes, options, progress)
        if not self._holds(key, hashes):
            raise IntegrityViolated(
                f"{self.url}/{key} does not hold what was sent (SHA-256 {hashes.sha256})",
                hint="Check whether another program writes there, or whether the server damages what it stores.",
            )
        return done

    def _holds(self, key: str, hashes: Hashes) -> bool:
        """Whether an object matches the hashes: by the server's checksum, or by reading it if there is none."""
        found = self._head(key)
        if found is None or found["ContentLength"] != hashes.size:
            return False
        if checksum := found.get("ChecksumSHA256"):
            return checksum == hashes.checksum
        if found["Metadata"].get("sha256") != hashes.sha256:
            return False
        measured = self.measure(key)
        return measured is not None and measured.sha256 == hashes.sha256

    def get_file(self, key: str, path: Path, expected: Artifact, progress: Progress | None = None) -> None:
        if self.head(key) is None:
            raise NotFound(f"{self.url}/{key} is missing")
        receive_file(lambda start: self._blocks(key, start), path, expected, progress)

    def measure(self, key: str, progress: Progress | None = None) -> Artifact | None:
        found = self.head(key)
        if found is None:
            return None
        digest, done = hashlib.sha256(), 0
        for block in self._blocks(key, 0) if found.size else ():
            digest.update(block)
            done += len(block)
            if progress:
                progress(done)
        return Artifact(path=key, sha256=digest.hexdigest(), size=done)

    def _blocks(self, key: str, start: int) -> Iterator[bytes]:
        """The bytes of an object from `start` on; after a broken connection it continues with the next byte."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        full, done, end = self._full(key), start, start + 1
        condition: dict[str, Any] = {}
        gave_up_at = time.monotonic() + self._calls.patience_s

        def open_at(s3: "S3Client") -> "GetObjectOutputTypeDef":
            return s3.get_object(Bucket=self._bucket, Key=full, Range=f"bytes={done}-", **condition)

        while done < end:
            try:
                reply = self._calls.run("reading", full, open_at)
            except ClientError as error:
                raise RemoteUnavailable(f"{self.url}/{key} changed or vanished while it was read") from error
            end, condition = done + reply["ContentLength"], {"IfMatch": reply["ETag"]}
            try:
                with closing(reply["Body"]) as body:
                    for block in body.iter_chunks(BLOCK):
                        done += len(block)
                        gave_up_at = time.monotonic() + self._calls.patience_s
                        yield block
            except (BotoCoreError, HTTPError, ConnectionError, TimeoutError) as error:
                if time.monotonic() > gave_up_at:
                    raise RemoteUnavailable(f"{self.url}/{key} cannot be read: {error}") from error
                log.warning("s3.reading_again", key=full, at=done)
                time.sleep(0.2)

    def head(self, key: str) -> Head | None:
        found = self._head(key)
        return None if found is None else Head(found["ContentLength"], found["ETag"])

    def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        from botocore.exceptions import ClientError

        full = self._full(key)
        try:
            return self._calls.run(
                "reading the metadata of",
                full,
                lambda s3: s3.head_object(Bucket=self._bucket, Key=full, ChecksumMode="ENABLED"),
            )
        except ClientError as error:
            if status_of(error) == 404:
                return None
            raise

    def list(self, prefix: str = "") -> Iterator[str]:
        full = self._below + (check_name(prefix, prefix=True) if prefix else "")

        def pages(s3: "S3Client") -> "list[str]":
            found = s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=full)
            return [item["Key"] for page in found for item in page.get("Contents", [])]

        keys = (key.removeprefix(self._below) for key in self._calls.run("listing", full, pages))
        return iter(sorted(key for key in keys if key))  # consoles mark a folder with an object of its name

    def delete(self, key: str) -> None:
        full = self._full(key)
        self._calls.run("deleting", full, lambda s3: s3.delete_object(Bucket=self._bucket, Key=full))

    def delete_prefix(self, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise Bug(f"{prefix!r} does not end in /")
        for key in self.list(prefix):
            self.delete(key)

    def probe(self) -> bool:
        hurried = self.patient_for(min(self._calls.patience_s, 60))
        hurried.conditional = None
        key = f".probe-{secrets.token_hex(8)}"
        hurried.put(key, b"first", if_absent=True)
        try:
            self.conditional = hurried._refuses(key, if_absent=True) and hurried._refuses(key, if_match='"other"')
            self._calls.proven = True
        finally:
            try:
                hurried.delete(key)
            except JobError as error:
                log.warning("store.cannot_delete", key=key, why=error.message)
        return self.conditional

    def _refuses(self, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        try:
            self.put(key, b"second", if_absent=if_absent, if_match=if_match)
        except Conflict:
            return self.conditional is None
        return False

    def patient_for(self, seconds: float) -> Self:
        other = type(self)(self.url, part_size=self._part_size, calls=self._calls.patient_for(seconds))
        other.conditional = self.conditional
        return other

    def _full(self, key: str) -> str:
        return self._below + check_name(key)


def _type_of(key: str) -> dict[str, str]:
    """The content type, for browsers."""
    guessed = "text/markdown" if key.endswith(".md") else mimetypes.guess_type(key)[0]
    return {"ContentType": guessed or "application/octet-stream"}
