"""Settings that stand in a text of YAML and not on the command line: a team's and a person's defaults
(k8s/defaults.py), and what a push cannot change (push/config.py). The fields that they share, and one reading.
"""

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from job.artifacts import Frozen
from job.nearest import guess
from job.spec.placeholders import placeholders, replace
from k8s.errors import LauncherError, SettingsInvalid
from k8s.manifest.settings import Labels, Name
from k8s.placement.platforms import PlatformName
from k8s.placement.wish import Wish

MAX_BYTES = 1 << 16
Price = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Model = TypeVar("Model", bound=Frozen)


def _prefix(value: str) -> str:
    bucket, _, path = value.removeprefix("s3://").partition("/")
    if not value.startswith("s3://") or not bucket or "*" in value or {".", ".."} & set(path.split("/")):
        raise ValueError("not an S3 address; write s3://bucket/prefix")
    return f"s3://{bucket}/{path.strip('/')}".rstrip("/")


def _owner(value: str) -> str:
    if not value or "/" in value or "*" in value:
        raise ValueError("not an owner; write the owner only: my-team")
    return value


def _gpu(value: str) -> str:
    try:
        Wish.of(value)
    except LauncherError as error:
        raise ValueError(error.message) from error
    return value


S3Prefix = Annotated[str, AfterValidator(_prefix)]
Gpu = Annotated[str, AfterValidator(_gpu)]


class Targets(Frozen):
    """Where runs may publish. Places that are not named are refused."""

    s3: tuple[S3Prefix, ...] = ()
    """s3://bucket/prefix: the prefix itself and everything below it."""
    hub: tuple[Annotated[str, AfterValidator(_owner)], ...] = ()
    """Owners of repositories on the Hub."""
    public: bool = False
    """Whether a repository on the Hub may be made public."""

    def refusals(self, address: str, *, private: bool = True) -> Iterator[str]:
        """Why a place to publish to is refused, a sentence each. There is no list for places of other kinds."""
        kind, _, name = address.partition("://")
        if kind == "s3":
            if not within(address, self.s3):
                yield f"publish.s3: {address} is not allowed; allowed: {', '.join(self.s3) or 'nothing'}"
        elif kind == "hf":
            if name.partition("/")[0].lower() not in {one.lower() for one in self.hub}:
                yield f"publish.hub: {name} is not allowed; allowed owners: {', '.join(self.hub) or 'none'}"
            if not private and not self.public:
                yield "publish.hub.private: a public repository is not allowed"
        else:
            yield f"publish: {address} is neither in S3 nor on the Hub, and only these are allowed; leave it out"


def within(place: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a place is one of the prefixes or below one; a path with `..` never is."""
    parts = place.removeprefix("s3://").strip("/").split("/")
    if {"", ".", ".."} & set(parts):
        return False
    return any(parts[: len(own)] == own for own in (one.removeprefix("s3://").split("/") for one in prefixes))


class Shared(Frozen):
    """The fields that all of them have."""

    image: str | None = None
    gpu: Gpu | None = None
    """As in --gpu: t4; t4,l4; auto; none."""
    spot: bool | None = None
    platform: PlatformName | None = None
    """The platform, if the launcher cannot read nodes: gke, eks, aks, …"""
    store: S3Prefix | None = None
    """The run store of specs that name none."""
    store_pvc: Name | None = None
    """A volume claim as the run store instead."""
    service_account: Name | None = None
    secrets: tuple[Name, ...] = ()
    """Secrets whose keys become variables in the pod."""
    pull_secrets: tuple[Name, ...] = ()
    labels: Labels = {}
    queue: str | None = None
    """Kueue's LocalQueue."""
    price_per_hour: Price | None = None
    """Price of the GPU per hour."""


def read_text(text: str, model: type[Model], where: str, hint: str) -> Model:
    """The settings in a text of YAML. Raises SettingsInvalid with every fault, its key and `where` it is, but without
    values, which could be secret. `hint`: what to do if it is not readable at all."""
    try:
        data: Any = YAML(typ="safe", pure=True).load(text)
        if left := [f"{'.'.join(map(str, keys))}: {replace(found)}" for keys, found in placeholders(data)]:
            raise SettingsInvalid(f"{where} cannot be used:\n  " + "\n  ".join(left))
        return model.model_validate({} if data is None else data)
    except (YAMLError, RecursionError) as error:
        raise SettingsInvalid(f"{where} is not valid YAML", hint=hint) from error
    except ValidationError as error:
        lines = [_fault(one, model) for one in error.errors()]
        raise SettingsInvalid(f"{where} cannot be used:\n  " + "\n  ".join(lines), hint=hint) from error


def _fault(error: Any, model: type[Frozen]) -> str:
    keys = error["loc"]
    if error["type"] == "extra_forbidden":
        known = model.model_fields if len(keys) == 1 else ()
        return f"{'.'.join(map(str, keys))}: there is no such key{guess(str(keys[-1]), known)}"
    return f"{'.'.join(map(str, keys)) or 'the whole'}: {error['msg'].removeprefix('Value error, ')}"
