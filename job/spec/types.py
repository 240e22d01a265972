"""The value types of a spec's fields, each with the values it accepts and the message for others."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from job.nearest import guess
from job.spec.addresses import check_data, check_folder, check_imatrix, check_model, check_place, check_repo, check_s3
from job.spec.docstrings import describe_fields
from job.spec.quants import ALIASES, EVERY_TYPE
from job.spec.ready import READY

NO_SUCH_TYPE = "llama.cpp has no such type"
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
S3Url = Annotated[Text, AfterValidator(check_s3), Field(json_schema_extra={"pattern": "^s3://."})]
Place = Annotated[Text, AfterValidator(check_place)]
Folder = Annotated[Text, AfterValidator(check_folder)]
ModelId = Annotated[Text, AfterValidator(check_model)]
DataId = Annotated[Text, AfterValidator(check_data)]
Template = Annotated[str, AfterValidator(_template)]
Token = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_token)]
AddTokens = Annotated[Literal["auto"] | list[Token], BeforeValidator(_auto)]
Imatrix = Annotated[Text, AfterValidator(check_imatrix)]
Revision = Annotated[Text, AfterValidator(_revision)]
RepoId = Annotated[
    Text,
    AfterValidator(check_repo),
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
