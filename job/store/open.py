"""The store at an address."""

from pathlib import Path

from job.errors import SpecInvalid
from job.store.base import Store


def open_store(url: str) -> Store:
    """`s3://bucket/prefix`, or a folder (also as `file://…`). Does not access it yet."""
    if url.startswith("s3://"):
        from job.store.s3 import S3Store

        return S3Store(url)
    if "://" in url and not url.startswith("file://"):
        raise SpecInvalid(
            f"unsupported store scheme {url.split('://')[0]}://", hint="Write s3://bucket/prefix, or a folder's path."
        )
    from job.store.folder import FolderStore

    return FolderStore(Path(url.removeprefix("file://")))
