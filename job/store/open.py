"""The store at an address."""

from collections.abc import Callable
from pathlib import Path

from job.errors import SpecInvalid
from job.store.base import Store


def _s3(url: str) -> Store:
    from job.store.s3 import S3Store

    return S3Store(url)


OPENERS: dict[str, Callable[[str], Store]] = {"s3": _s3}
"""By scheme, for those of job/spec/places.py: STORES. Each imports its client only when it is asked for."""


def open_store(url: str) -> Store:
    """`s3://bucket/prefix`, or a folder (also as `file://…`). Does not access it yet."""
    scheme, separator, _ = url.partition("://")
    if separator and scheme in OPENERS:
        return OPENERS[scheme](url)
    if separator and scheme != "file":
        raise SpecInvalid(f"unsupported store scheme {scheme}://", hint="Write s3://bucket/prefix, or a folder's path.")
    from job.store.folder import FolderStore

    return FolderStore(Path(url.removeprefix("file://")))
