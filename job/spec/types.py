"""The value types of a spec's fields, each with the values it accepts and the message for others."""

import difflib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from job.nearest import guess
from job.spec.docstrings import describe_fields
from job.spec.places import HUB, NO_MODEL, ending, suffix_format
from job.spec.quants import ALIASES, EVERY_TYPE
from job.spec.ready import READY
from job.spec.unread import UNREAD, how_to_convert

NO_SUCH_TYPE = "llama.cpp has no such type"
_HUB_ID = re.compile(r"(?=.{1,96}\Z)(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII)
_Item = TypeVar("_Item")


def _number(value: Any) -> Any:
    """Refuses true and false, which would count as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("switch_for_number", "a number is expected, not true or false")
    return value


def digits(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 4 else value


def _quant_type(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    name = value.strip().lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in EVERY_TYPE:
        alike = [known for known in EVERY_TYPE if known.startswith(name[:2])] or EVERY_TYPE
        raise ValueError(f"{NO_SUCH_TYPE}{guess(name, alike, most=4, cutoff=0.5)}")
    return name


def each_once(values: list[_Item]) -> list[_Item]:
    return list(dict.fromkeys(values))


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it contains control characters; remove them")
    if value != value.strip():
        raise ValueError("it starts or ends with white space; remove it")
    return value


def _s3_url(value: str) -> str:
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


ADDRESSES: dict[str, Callable[[str], str]] = {"s3": _s3_url}
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


def _repo_id(value: str) -> str:
    if "/" not in value:
        raise ValueError("the owner is missing; write owner/name")
    return _hub_id(value)


def _is_folder(value: str) -> bool:
    return value.startswith((".", "/", "~"))


def _place(value: str) -> str:
    """A folder or an S3 prefix."""
    if address := _store_address(value):
        return address
    if "://" in value:
        raise ValueError("neither a folder nor an S3 address; write a path, or s3://bucket/prefix")
    return value


def _folder(value: str) -> str:
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


def _model_id(value: str) -> str:
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


def _data_id(value: str) -> str:
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


def _template(value: str) -> str:
    """The text of a ready template for its name. Jinja marks what it replaces; a text without a mark would be every
    prompt, and may be the path of a file."""
    if (name := value.strip().lower()) in READY:
        return READY[name]
    if not re.search(r"\{[{%]", value):
        raise ValueError(
            f"not a Jinja template, which has {{{{ … }}}} or {{% … %}}, and not one of {', '.join(READY)}"
            f"{guess(value, READY) or '; write its text, not the path of a file'}"
        )
    return value


def _token(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError("not the text of a token: white space around it, or characters that nobody sees")
    return value


def _auto(value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        raise ValueError(f"{value!r} is not auto; write a list of tokens: [{value}]")
    return value


def _revision(value: str) -> str:
    if not re.fullmatch(r"(?![-/.])[^\s~^:?*\[\\]+(?<![/.])", value) or ".." in value:
        raise ValueError("not a valid git name; write a branch, a tag or a commit")
    return value


def _imatrix(value: str) -> str:
    if address := _store_address(value):
        return address
    if "://" in value:
        raise ValueError("neither a path nor an S3 address; write auto, none, a file's path, or s3://bucket/file")
    if value not in ("auto", "none") and not re.search(r"[./]", value):
        near = difflib.get_close_matches(value.lower()[:20], ("auto", "none"), cutoff=0.5)
        raise ValueError(f"{f'did you mean {near[0]}? W' if near else 'w'}rite auto, none, or the path of a file")
    return value


def _size(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,6}[MG]", value):
        found = re.match(r"([1-9][0-9]{0,6})\s*([mg])", value.lower())
        guess = f"did you mean {found[1]}{found[2].upper()}? W" if found else "w"
        raise ValueError(f"{guess}rite a whole number and M or G, e.g. 4G")
    return value


def _name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}", value):
        raise ValueError("not a portable file name; write up to 81 of a-z, A-Z, 0-9, dash, underscore and dot")
    return value


def _run_id(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", value):
        raise ValueError("not a Kubernetes name; write up to 63 of a-z, 0-9, dash and dot, a letter or digit first")
    return value


# Always last: a range that follows it is lost in the JSON Schema.
NUMBER = BeforeValidator(_number)
Count = Annotated[int, Field(gt=0, lt=2**31), NUMBER]
From0 = Annotated[int, Field(ge=0, lt=2**31), NUMBER]
Fraction = Annotated[float, Field(ge=0, lt=1), NUMBER]
Share = Literal["auto"] | Fraction
Rate = Annotated[float, Field(gt=0, le=1), NUMBER]
PositiveNumber = Annotated[float, Field(gt=0), NUMBER]
NonNegativeNumber = Annotated[float, Field(ge=0), NUMBER]
Switch = Literal["auto"] | bool
Text = Annotated[str, Field(min_length=1), AfterValidator(_printable)]
Names = Annotated[list[Text], AfterValidator(each_once)]
TYPE_NAMES = (*EVERY_TYPE, *ALIASES)
QuantType = Annotated[
    str,
    BeforeValidator(_quant_type),
    # JSON Schema cannot say "in any case", so both cases are listed.
    WithJsonSchema({"type": "string", "enum": [*TYPE_NAMES, *(name.upper() for name in TYPE_NAMES)]}),
]
S3Url = Annotated[Text, AfterValidator(_s3_url), Field(json_schema_extra={"pattern": "^s3://."})]
Place = Annotated[Text, AfterValidator(_place)]
Folder = Annotated[Text, AfterValidator(_folder)]
ModelId = Annotated[Text, AfterValidator(_model_id)]
DataId = Annotated[Text, AfterValidator(_data_id)]
Template = Annotated[str, AfterValidator(_template)]
Token = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_token)]
AddTokens = Annotated[Literal["auto"] | list[Token], BeforeValidator(_auto)]
Imatrix = Annotated[Text, AfterValidator(_imatrix)]
Revision = Annotated[Text, AfterValidator(_revision)]
RepoId = Annotated[
    Text,
    AfterValidator(_repo_id),
    Field(json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*$"}),
]
FileName = Annotated[
    Text, AfterValidator(_name), Field(json_schema_extra={"pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}$"})
]
FileSize = Annotated[Text, AfterValidator(_size), Field(json_schema_extra={"pattern": "^[1-9][0-9]{0,6}[MG]$"})]
RunId = Annotated[
    Text, AfterValidator(_run_id), Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"})
]


class Section(BaseModel):
    """Base of every part of the spec: frozen; an unknown field is a fault."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra=describe_fields,
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )
