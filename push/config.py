"""The settings that a push cannot change: where runs go, as whom, where they publish, how many, and at what price.

It comes from the environment variable FINETUNE_PUSH_CONFIG, which the forge keeps with the protected environment: the
YAML itself, or the absolute path of a YAML file outside of the repository.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from job.predict.gpus import GPUS
from job.predict.gpus import Gpu as Card
from job.spec.places import Where
from k8s.configuration import MAX_BYTES, Gpu, Price, Shared, Targets, read_text
from k8s.errors import LauncherError, SettingsInvalid
from k8s.manifest.parse import size
from k8s.manifest.settings import DNS_LABEL, has_registry
from k8s.placement.wish import Wish

VARIABLE = "FINETUNE_PUSH_CONFIG"


def _size(value: str) -> str:
    try:
        size(value, "size")
    except LauncherError as error:
        raise ValueError(error.hint) from error
    return value


def _folder(value: str) -> str:
    parts = value.strip("/").split("/")
    if value.startswith(("/", "~")) or {"", ".", ".."} & set(parts):
        raise ValueError("not a folder of the repository; write data or data/rows")
    return "/".join(parts)


Size = Annotated[str, AfterValidator(_size)]


class Config(Shared):
    """The protected configuration."""

    image: str
    """The job's image by digest, since a tag can be moved to another image."""
    namespace: Annotated[str, Field(pattern=DNS_LABEL, max_length=63)]
    gpu: Gpu = "auto"
    spot: bool = False
    publish: Targets = Targets()
    sources: tuple[Where | Literal["repository"], ...] = ("hub", "s3")
    """Where models, adapters, data and importance matrices may come from. `repository`: files of the pushed commit,
    which a spec names by relative paths. With `https` and `path` a push can read anything that the pod can reach:
    addresses inside the network, mounted files."""
    data_folders: tuple[Annotated[str, AfterValidator(_folder)], ...] = ("data",)
    """The folders of the repository that files may come from."""
    max_data: Size = "100M"
    """The most bytes of one push that come from the repository."""
    env: dict[str, str] = {}
    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    cpu_limit: Annotated[float, Field(gt=0, le=1024)] | None = None
    """Limit of CPU cores, if a quota asks for one."""
    memory: Size | None = None
    """Memory of the pod, e.g. 14Gi; unset: predicted."""
    disk: Size | None = None
    max_specs: Annotated[int, Field(ge=1, le=100)] = 3
    """The most specs of one push; if a push changes more, none is sent."""
    max_price: Price | None = None
    """The highest estimated price of all runs of one push. With it, a run without an estimate is refused."""
    deadline_hours: Annotated[float, Field(gt=0, le=24 * 90)] | None = None
    """Hours after which a run is ended, whatever was estimated; waiting time counts too."""
    ttl_days: Annotated[int, Field(ge=1, le=365)] = 7
    """Days for which a finished Job is kept, so that it can be reported."""

    @model_validator(mode="after")
    def _whole(self) -> "Config":
        if "@sha256:" not in self.image or not has_registry(self.image):
            raise ValueError("image: name it by its digest, registry/name@sha256:…")
        if (self.store is None) == (self.store_pvc is None):
            raise ValueError("no store is named, so a lost run would start from the beginning; name store or store_pvc")
        if self.max_price is not None and self.price_per_hour is None:
            raise ValueError("max_price needs price_per_hour")
        return self

    @property
    def card(self) -> Card | None:
        """The GPU of a plan without a cluster: the first that is named and known."""
        wish = Wish.of(self.gpu)
        return next((GPUS[name] for name in wish.gpus if name in GPUS), None)


def read(environ: Mapping[str, str], repo: Path) -> Config | None:
    """The configuration, or None if the variable is not set. Raises SettingsInvalid with every fault, without
    values."""
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if text.startswith("/") and "\n" not in text:
        text = _of_file(Path(text), repo)
    return read_text(text, Config, VARIABLE, "docs/training-on-push.md has an example.")


def needed(found: Config | None) -> Config:
    """The configuration. Raises SettingsInvalid if there is none."""
    if found is None:
        raise SettingsInvalid(
            f"{VARIABLE} is not set",
            hint="Set it in the protected environment; docs/training-on-push.md has an example.",
        )
    return found


def _of_file(path: Path, repo: Path) -> str:
    resolved = path.resolve()
    if resolved.is_relative_to(repo.resolve()):
        raise SettingsInvalid(
            f"{VARIABLE} names a file in the repository, which a push could change",
            hint="Keep it with the protected environment.",
        )
    try:
        with resolved.open("rb") as file:
            return file.read(MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"{VARIABLE}: {path} cannot be read") from error
