"""What a place in a spec is: a repository on the Hub, an S3 address, a file on the web, or a file or folder here."""

import re
from collections.abc import Iterable
from typing import Any, Literal
from urllib.parse import urlsplit

from job.artifacts import digest_of

Where = Literal["hub", "s3", "https", "path"]
HUB = "hf://"
"""How a Hub id may begin, to tell it from a folder of that name."""
STORES: tuple[Where, ...] = ("s3",)
"""The schemes of addresses that `open_store` opens: a run's store, and what a model or data set can be read from."""

FORMATS = {
    "parquet": "parquet",
    "arrow": "arrow",
    "feather": "arrow",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "jsonlines": "jsonl",
    "json": "json",
    "csv": "csv",
    "tsv": "csv",
    "txt": "txt",
}
"""A data file's suffix and its format, in order of preference if a split comes in several formats."""

INPUTS = "inputs"
"""The folder of what came along with runs (job/fetch/inputs.py)."""
_INPUT = re.compile(rf"/{INPUTS}/([0-9a-f]{{64}})/[^/]+/?")

NO_MODEL = ("gguf", "ggml", "safetensors", "bin", "pt", "pth", "ckpt", "onnx", "zip", "tar.gz", "json")
"""Endings of files, where a model is a folder or a repository."""


def ending(name: str, known: Iterable[str]) -> str | None:
    """The one of the known endings that a name has."""
    return next((one for one in known if name.lower().rstrip("/").endswith(f".{one}")), None)


def suffix_format(name: str) -> str | None:
    """The format by a file's suffix, with or without .gz; None if it is not a data file."""
    parts = name.rsplit("/", 1)[-1].lower().removesuffix(".gz").rsplit(".", 1)
    return FORMATS.get(parts[-1]) if len(parts) == 2 else None


def model_place(place: str) -> Where:
    """The kind of place of a model or an adapter."""
    if "://" in place:
        return next((one for one in STORES if place.startswith(f"{one}://")), "https")
    return "path" if place.startswith((".", "/", "~")) or place.count("/") > 1 else "hub"


def data_place(place: str) -> Where:
    """The kind of place of a data set. A name with a data file's suffix is a file, not a repository."""
    found = model_place(place)
    return "path" if found == "hub" and (suffix_format(place) or place.lower().endswith(".gz")) else found


def content_digest(place: str) -> str | None:
    """The SHA-256 that a place names its content by, if it came along with a run: `…/inputs/<sha256>/<name>`."""
    found = _INPUT.search(place)
    return found[1] if found and found.end() == len(place) else None


def address_pin(address: str, state: str) -> str:
    """What an address on the web is pinned to: it, and the state of its content."""
    return f"{digest_of(address)}.{state}"


def is_of_address(pin: str, address: str) -> bool:
    """Whether a pin is of this address, whatever the state; earlier releases pinned the address alone."""
    return pin.partition(".")[0] == digest_of(address)


def imatrix_file(imatrix: str) -> str | None:
    """The place of the file that `export.imatrix` names; None for auto and none."""
    return None if imatrix in ("auto", "none") else imatrix


def file_place(place: str) -> Where:
    """The kind of place of a single file, which the Hub is not."""
    return next((one for one in STORES if place.startswith(f"{one}://")), "path")


def is_downloaded(model: str) -> bool:
    """Whether a model is downloaded, and not read from a folder."""
    return model_place(model) != "path"


def public_name(place: str) -> str:
    """A Hub id unchanged; of a folder or an address only the last part, so that no path of a machine is published."""
    return place if model_place(place) == "hub" else shown_place(place).rstrip("/").split("/")[-1]


def shown_place(place: str) -> str:
    """A place as it is shown and kept: of an address on the web without user, password, query and fragment, since any
    of them may be a key."""
    if not place.lower().startswith(("https://", "http://")):
        return place
    try:
        parts = urlsplit(place)
    except ValueError:
        return f"{place.split('://')[0]}://[not an address]"
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"


def shown_places(value: Any) -> Any:
    """The same for every string in nested dicts and lists."""
    if isinstance(value, dict):
        return {key: shown_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown_places(item) for item in value]
    return shown_place(value) if isinstance(value, str) else value
