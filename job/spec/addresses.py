"""Checks where a spec says that something lies: on the Hub, in S3, behind https, in a folder or a file here.

Each check returns the address as it is used, or raises ValueError with what to write.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from job.spec.places import HUB, NO_MODEL, ending, suffix_format
from job.spec.unread import UNREAD, how_to_convert

_HUB_ID = re.compile(r"(?=.{1,96}\Z)(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)


def check_s3(value: str) -> str:
    if not value.startswith("s3://"):
        scheme = re.match(r"[a-z0-9+.-]{1,20}://", value, re.I)
        raise ValueError(f"not an S3 address{f': {scheme[0]}…' if scheme else ''}; write s3://bucket/prefix")
    if not re.match(r"s3://[^/]", value):
        raise ValueError("no bucket is named; write s3://bucket/prefix")
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?", value):
        raise ValueError(
            "not an S3 address; write s3://bucket/prefix (a bucket: 3 to 63 of a-z, 0-9, dot and dash; "
            "a prefix: no blanks, no ? and #)"
        )
    if ".." in value.split("/"):
        raise ValueError("`..` means nothing in S3; write the prefix itself")
    return value.rstrip("/")


ADDRESSES: dict[str, Callable[[str], str]] = {"s3": check_s3}
"""What checks an address, by its scheme: for each of job/spec/places.py: STORES."""


def _store_address(value: str) -> str | None:
    """The address of an object store, checked; None for anything else."""
    check = ADDRESSES.get(value.partition(":")[0]) if ":" in value else None
    return check(value) if check else None


def _hub_id(value: str) -> str:
    """Hugging Face's own rule for repository names (huggingface_hub.utils.validate_repo_id)."""
    bare = value.removesuffix(".git")
    if not _HUB_ID.fullmatch(value) or bare != value or re.search(r"--|\.\.|[.-]\Z|[.-]/", value):
        raise ValueError(
            "not a valid Hub name; write owner/name (a-z, A-Z, 0-9, dash, underscore, dot; no `--`, no `..`, "
            "at most 96 characters)"
        )
    return value


def check_repo(value: str) -> str:
    if "/" not in value:
        raise ValueError("the owner is missing; write owner/name")
    return _hub_id(value)


def _is_folder(value: str) -> bool:
    return value.startswith((".", "/", "~"))


def check_place(value: str) -> str:
    """A folder or an S3 prefix."""
    if address := _store_address(value):
        return address
    if "://" in value:
        raise ValueError("neither a folder nor an S3 address; write a path, or s3://bucket/prefix")
    return value


def check_folder(value: str) -> str:
    if "://" in value:
        raise ValueError("not a folder; write a path (for S3: publish.s3, for the Hub: publish.hub)")
    return value


def _hub_page(value: str) -> str | None:
    """The repository if this is the address of its web page, else None."""
    found = re.match(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([^/]+/[^/?#]+)", value)
    return found[1] if found and "/resolve/" not in value else None


def _from_hub(value: str) -> str | None:
    """The name in `hf://owner/name`, which says that the Hub is meant, whatever lies here; None for anything else."""
    if not value.startswith(HUB):
        return None
    return _hub_id(value.removeprefix(HUB).removeprefix("datasets/"))


def check_model(value: str) -> str:
    if name := _from_hub(value):
        return name
    if found := ending(value, NO_MODEL):
        raise ValueError(f"a .{found} file is not a model; name the folder or the repository with its config.json")
    return _model_place(value)


def _model_place(value: str) -> str:
    if address := _store_address(value):
        return address
    if "://" in value:
        page = _hub_page(value)
        name = page if page and _HUB_ID.fullmatch(page) else "owner/name"
        raise ValueError(f"models come from the Hub, S3 or a folder; write {name}, s3://bucket/prefix or a path")
    if _is_folder(value) or (value.count("/") > 1 and Path(value).exists()):
        return value
    if value.count("/") > 1:
        raise ValueError("neither a Hub id nor a folder that exists; write owner/name, or a path that starts with ./")
    return _hub_id(value)


def check_data(value: str) -> str:
    if found := ending(value, UNREAD):
        raise ValueError(f".{found} files are not read; {how_to_convert(found, value.rsplit('/', 1)[-1])}")
    if name := _from_hub(value):
        if suffix_format(name):
            raise ValueError("a name with the ending of a data file is a file here, not a repository")
        return name
    if value.startswith(("https://", "http://")):
        return _data_url(value)
    if suffix_format(value) and "://" not in value:
        return value
    if address := _store_address(value):
        return address
    if "://" in value:
        raise ValueError("data comes from the Hub, S3, https or a path; write owner/name, s3://…, https://… or a path")
    return _model_place(value)


def _data_url(value: str) -> str:
    page = _hub_page(value)
    if page:
        name = page if _HUB_ID.fullmatch(page) else "owner/name"
        raise ValueError(f"a web page, not a file; write {name}")
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise ValueError("no host is named; write https://host/file.jsonl")
    if value.startswith("http://") and not _is_loopback(host):
        raise ValueError("http:// does not protect the data from changes on the way; write https://")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_imatrix(value: str) -> str:
    if address := _store_address(value):
        return address
    if "://" in value:
        raise ValueError("neither a path nor an S3 address; write auto, none, a file's path, or s3://bucket/file")
    if value not in ("auto", "none") and not re.search(r"[./]", value):
        near = difflib.get_close_matches(value.lower()[:20], ("auto", "none"), cutoff=0.5)
        raise ValueError(f"{f'did you mean {near[0]}? W' if near else 'w'}rite auto, none, or the path of a file")
    return value
