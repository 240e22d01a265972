"""The deployment settings of a run: everything about its Job that is not the spec.

Frozen, and validated as a whole: wrong settings never reach the cluster. Secrets are only named, never contained.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from job.artifacts import Frozen
from job.predict.deadline import WEEK_S
from job.redaction import SECRET_SHAPES, secret_values
from job.spec.placeholders import placeholders, replace
from k8s.errors import SettingsInvalid
from k8s.manifest.base import BASE, CA_FOLDER, CACHE, SPEC_FOLDER, STORE, VOLUMES, WORK
from k8s.manifest.names import LONGEST
from k8s.placement.placement import Placement

GIB = 1 << 30
_RESERVED_ENV = {one["name"] for key in ("singleEnv", "sweepEnv") for one in BASE[key]}
_RESERVED_PATHS = (SPEC_FOLDER, CA_FOLDER, WORK, CACHE, STORE, "/tmp", "/dev", "/proc", "/sys")


def _image(value: str) -> str:
    """An image reference as container runtimes read it (distribution/reference), without white space."""
    if not re.fullmatch(r"[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?", value, re.ASCII) or len(value) > 500:
        raise ValueError("not an image; write registry/name@sha256:… or registry/name:tag")
    return value


def has_registry(image: str) -> bool:
    """Whether the reference begins with a registry: a name with a dot or a port, or localhost (distribution/reference).

    Without one, container runtimes ask Docker Hub.
    """
    registry, slash, _ = image.partition("/")
    return bool(slash) and (registry == "localhost" or "." in registry or ":" in registry)


def _key(value: str) -> str:
    """A label's or an annotation's key."""
    if not re.fullmatch(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", value, re.A):
        raise ValueError(f"{value[:80]!r} is not a valid name of a label or an annotation")
    return value


def _label_value(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?", value, re.ASCII):
        raise ValueError("not a label's value; write up to 63 of a-z, A-Z, 0-9, dash, underscore and dot")
    return value


def _absolute(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts or ":" in value or len(path.parts) < 2:
        raise ValueError("not an absolute path; write one that begins with /")
    if any(path == taken or taken in path.parents for taken in map(PurePosixPath, _RESERVED_PATHS)):
        raise ValueError(f"the run uses this path itself; choose a path that is not among {', '.join(_RESERVED_PATHS)}")
    return str(path)


AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]
DNS_LABEL = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
DataKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
Labels = dict[Annotated[str, AfterValidator(_key)], Annotated[str, AfterValidator(_label_value)]]
Annotations = dict[Annotated[str, AfterValidator(_key)], str]


def _preferences(value: dict[str, Any]) -> dict[str, Any]:
    """Only the placement decides which nodes are possible: two sets of alternatives cannot be combined."""
    if "requiredDuringSchedulingIgnoredDuringExecution" in value.get("nodeAffinity", {}):
        raise ValueError("affinity to nodes can only be preferred; to require nodes, use nodeSelector")
    return value


def _not_ours(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("name") in {*VOLUMES, "store", "ca"} or str(value.get("name")).startswith("secret-"):
        raise ValueError(f"a volume {value['name']!r} exists already; choose another name")
    return value


def _mount(value: dict[str, Any]) -> dict[str, Any]:
    return _not_ours(value) | {"mountPath": _absolute(str(value.get("mountPath")))}


class Resources(Frozen):
    """The container's requests; memory and disk (bytes) are limits too, CPU (cores) only with `cpu_limit`."""

    cpu: Annotated[float, Field(gt=0, le=1024)] = 2
    cpu_limit: Annotated[float, Field(gt=0, le=1024)] | None = None
    """For a quota that asks for one; without a limit the container uses idle cores, with one it is throttled."""
    memory: Annotated[int, Field(ge=GIB)] = 10 * GIB
    disk: Annotated[int, Field(ge=GIB)] = 40 * GIB
    """On the node: the work directory (unless it is on a scratch volume), the cache and /tmp together."""
    shm: Annotated[int, Field(ge=1 << 20)] = GIB
    """/dev/shm, which counts as memory."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.cpu_limit is not None and self.cpu_limit < self.cpu:
            raise ValueError(f"cpu_limit: {self.cpu_limit:g} is less than the {self.cpu:g} cores that are requested")
        return self


class Reference(Frozen):
    """A key of an existing Secret or ConfigMap."""

    name: Name
    key: DataKey


class Scratch(Frozen):
    """A volume created for the run's work directory, for nodes with small disks."""

    size: Annotated[int, Field(ge=GIB)]
    storage_class: Name | None = None


class Settings(Frozen):
    """Everything about a run's Job that is not the spec."""

    image: Annotated[str, AfterValidator(_image)]
    name: Annotated[str, Field(pattern=DNS_LABEL, max_length=LONGEST)]
    """The Job's name, and the run's id if the spec names none (k8s/manifest/names.py)."""
    namespace: Annotated[str, Field(pattern=DNS_LABEL, max_length=63)] = "default"
    placement: Placement = Placement()
    resources: Resources = Resources()
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Name, ...] = ()
    env: dict[EnvName, str] = {}
    env_secrets: tuple[Name, ...] = ()
    """Secrets whose keys become variables (HF_TOKEN, AWS_ACCESS_KEY_ID, …)."""
    secret_env: dict[EnvName, Reference] = {}
    """Single variables from keys of Secrets."""
    secret_files: dict[Name, Annotated[str, AfterValidator(_absolute)]] = {}
    """Secrets mounted as folders: name -> path."""
    store_pvc: Name | None = None
    """A PersistentVolumeClaim for the run store, mounted at /store; it is run.store if the spec names none."""
    cache_pvc: Name | None = None
    inputs: str = ""
    """The packed files that go along in the ConfigMap, in base64 (k8s/inputs/along.py)."""
    access_modes: dict[Name, AccessMode] = {}
    """How many nodes can mount a claim, as far as that is known; several runs at a time need ReadWriteMany."""
    scratch: Scratch | None = None
    service_account: Name | None = None
    """The Kubernetes service account, e.g. for workload identity; its API token is not mounted."""
    priority_class: Name | None = None
    runtime_class: Name | None = None
    queue: Annotated[str, AfterValidator(_label_value)] | None = None
    """Kueue's LocalQueue."""
    suspend: bool = False
    """Created suspended: with a queue, until Kueue admits it."""
    parallel: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many runs of a sweep run at a time."""
    labels: Labels = {}
    annotations: Annotations = {}
    """Labels for the Job and its pods."""
    node_selector: dict[Annotated[str, AfterValidator(_key)], Annotated[str, AfterValidator(_label_value)]] = {}
    affinity: Annotated[dict[str, Any], AfterValidator(_preferences)] = {}
    """Affinity to pods, and preferred nodes (core/v1 Affinity); added to the placement's requirements."""
    volumes: tuple[Annotated[dict[str, Any], AfterValidator(_not_ours)], ...] = ()
    volume_mounts: tuple[Annotated[dict[str, Any], AfterValidator(_mount)], ...] = ()
    https_proxy: str | None = None
    http_proxy: str | None = None
    no_proxy: str | None = None
    ca: Reference | None = None
    """A ConfigMap's key with all certificates to trust; it replaces the image's bundle."""
    user: Annotated[int, Field(ge=1)] | None = 10001
    """User, group and fsGroup; None: the platform sets them (OpenShift)."""
    grace_s: Annotated[int, Field(ge=1, le=3600)] = 120
    """Seconds for a stopped pod to save its checkpoint: clouds give spot nodes 15 to 120 seconds."""
    deadline_s: Annotated[int, Field(ge=60)] = WEEK_S
    """Seconds for the whole run, including time in queues."""
    ttl_s: Annotated[int, Field(ge=0)] | None = None
    """Seconds after its end when the Job is deleted; its work stays in the store."""

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Validated settings. Raises SettingsInvalid with every fault, but without values, which could be secret."""
        if left := [f"{'.'.join(map(str, keys))}: {replace(found)}" for keys, found in placeholders(values)]:
            raise SettingsInvalid("the settings cannot be used:\n  " + "\n  ".join(left))
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors()]
            raise SettingsInvalid("the settings cannot be used:\n  " + "\n  ".join(lines)) from error

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.pull_policy != "Never" and not has_registry(self.image):
            raise ValueError(
                f"image: {self.image} names no registry; write it with one, e.g. ghcr.io/owner/finetune-run:1 or "
                "docker.io/owner/finetune-run:1, or use the pull policy Never if each node has the image"
            )
        given = self.env | self.proxies
        if secret_values(given) or any(SECRET_SHAPES.search(one) for one in [*given.values(), *self._metadata]):
            raise ValueError("a value is a secret; put it into a Secret and name that (env_secrets, secret_env)")
        for name in (*self.env, *self.secret_env):
            if name in _RESERVED_ENV:
                raise ValueError(f"{name} is set by the Job itself")
        for key, value in self.required_labels.items():
            if self.node_selector.get(key, value) != value:
                raise ValueError(f"node_selector: {key}={self.node_selector[key]}, but the Job needs {value}")
        if both := set(self.env) & set(self.secret_env):
            raise ValueError(f"{', '.join(sorted(both))}: both in env and in secret_env")
        return self

    @property
    def _metadata(self) -> list[str]:
        return [*self.annotations.values(), *self.labels.values()]

    @property
    def required_labels(self) -> dict[str, str]:
        """Labels that the node must have, whatever the user adds to them."""
        base: dict[str, str] = BASE["pod"]["nodeSelector"]
        return base | self.placement.selector()

    @property
    def proxies(self) -> dict[str, str]:
        """The proxies as variables in upper and lower case, since programs differ in which they read."""
        given = {"https_proxy": self.https_proxy, "http_proxy": self.http_proxy, "no_proxy": self.no_proxy}
        return {key: value for name, value in given.items() if value for key in (name.upper(), name)}
