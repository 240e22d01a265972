"""The chart's values: the job spec, and beside it the deployment settings under names as charts have them.

values.yaml, values.schema.json and the table in the chart's README are written from this (scripts/chart.py): a field's
docstring is its comment.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from k8s.manifest.settings import DNS_LABEL, DNS_NAME, WEEK_S, DataKey, EnvName, Name, Reference
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.platforms import PlatformName

SIZE = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
Size = Annotated[str, Field(pattern=SIZE)]
NoSize = Annotated[str, Field(pattern=f"^$|{SIZE}")]
NoName = Annotated[str, Field(pattern=f"^$|{DNS_NAME}", max_length=253)]
Gpu = Literal["none", *GPU_NAMES]  # type: ignore[valid-type]
Labels = dict[str, str]
Path = Annotated[str, Field(pattern=r"^[a-z_0-9]+(\.[a-z_0-9]+)+$")]


class Values(BaseModel):
    """A part of the values: no other names."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, validate_by_name=True, use_attribute_docstrings=True
    )


class Image(Values):
    repository: str = Field("finetune-run", pattern=r"^[a-z0-9][\w.:/-]*$")
    """Where you pushed the image."""
    tag: str = Field("", pattern=r"^[\w.-]*$", max_length=128)
    """The chart's appVersion where it is empty."""
    digest: str = Field("", pattern="^(sha256:[0-9a-f]{64})?$")
    """sha256:…, which wins over the tag and never changes."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Never: the node has it already."""


class Asked(Values):
    cpu: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?m?$")] | float = "2"
    """Cores to ask for; there is no limit."""
    memory: Size = "10Gi"
    """A limit too."""
    disk: Size = "40Gi"
    """On the node: the work directory (unless it is on a scratch volume), the cache and /tmp together."""
    shm: Size = "1Gi"
    """/dev/shm, which counts as memory."""


class Claim(Values):
    existing_claim: NoName = ""
    """A PersistentVolumeClaim that is there."""
    size: NoSize = ""
    """Make one of this size, which `helm uninstall` keeps."""
    storage_class: NoName = ""
    """The cluster's default where it is empty."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"] = "ReadWriteOnce"
    """ReadWriteMany where a sweep runs on several nodes at a time."""


class Scratch(Values):
    size: NoSize = ""
    """Of the volume."""
    storage_class: NoName = ""
    """The cluster's default where it is empty."""


class ServiceAccount(Values):
    create: bool = False
    """Make one."""
    name: NoName = ""
    """The one to use; the chart's own has the release's name where this is empty."""
    annotations: dict[str, str] = {}
    """For workload identity, e.g. eks.amazonaws.com/role-arn."""


class Proxy(Values):
    https: str = ""
    """For https://"""
    http: str = ""
    """For http://"""
    exclude: str = ""
    """Hosts without one, with commas between."""


class Certificates(Values):
    config_map: NoName = ""
    """With the whole bundle of certificates to trust; it replaces the image's."""
    key: DataKey = "ca.crt"
    """Its key."""


class Block(Values):
    cidr: str = Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = []
    """All where it is empty."""


class NetworkPolicy(Values):
    enabled: bool = False
    """Nothing in; out only to DNS, to TCP 443, and to what is named here. (A policy cannot name hosts.)"""
    egress: list[Block] = []
    """Further addresses, e.g. a store inside the cluster: {cidr: 10.0.0.0/8, ports: [9000]}."""
    metadata: bool = True
    """The node's metadata addresses, which workload identity needs."""


class ChartValues(Values):
    """All of them."""

    spec: dict[str, Any] = {}
    """The job spec, as in a spec file (`python -m job schema`; docs/spec.md). It needs a model and a dataset."""
    sweep: list[Annotated[dict[Path, Any], Field(min_length=1)]] = []
    """Several runs as one Indexed Job: what each sets, by its path in the spec.
    E.g. [{training.learning_rate: 1e-4}, {training.learning_rate: 2e-4, lora.r: 16}]"""
    parallel: int = Field(1, ge=1, le=1000)
    """How many of them at a time."""
    image: Image = Image()
    """The image of the job."""
    image_pull_secrets: list[Name] = []
    """Names of Secrets to pull it with."""
    gpu: Gpu | list[Gpu] = "t4"
    """What the run needs one of; a list: any of them will do; none: the CPU."""
    platform: PlatformName | list[PlatformName] = "gfd"
    """How the nodes are labelled: gke, eks, karpenter, eks-auto, aks, aks-nap; gfd: NVIDIA's GPU Feature Discovery;
    custom: by `gpuLabel`."""
    gpu_label: str = Field("", pattern=r"^([\w./-]+=[\w.,-]+)?$")
    """key=value: with platform custom, the label that tells the GPUs apart."""
    spot: bool = False
    """On spot nodes."""
    shared: bool = False
    """A time-sliced share of a card instead of a whole one."""
    mig: str = Field("", pattern=r"^([1-7]g\.[0-9]+gb(\.me)?)?$")
    """A MIG slice instead, e.g. 1g.5gb."""
    single_strategy: bool = False
    """The device plugin offers shares or slices under the name of whole cards (MIG's strategy `single`)."""
    resources: Asked = Asked()
    """`finetune-run launch --emit values` fills these in from what the run is predicted to need."""
    node_selector: Labels = {}
    """Labels that the node must have, beside the GPU."""
    tolerations: list[dict[str, Any]] = []
    """Further ones; those of the platform's GPU nodes are there."""
    affinity: dict[str, Any] = {}
    """To pods, and preferred nodes. Which nodes are possible: gpu and nodeSelector."""
    existing_secret: NoName | list[Name] = ""
    """Secrets whose keys become variables: HF_TOKEN, AWS_ACCESS_KEY_ID, … Made by you, or by External Secrets."""
    secret_env: dict[EnvName, Reference] = {}
    """Single variables: {HF_TOKEN: {name: my-secret, key: token}}"""
    secret_files: dict[Name, str] = {}
    """Secrets mounted as folders: {my-secret: /etc/my-secret}"""
    env: dict[EnvName, str] = {}
    """Plain variables; no secrets."""
    store: Claim = Claim()
    """A volume for the run store, which outlives the pod; not needed where spec.run.store is s3://…"""
    cache: Claim = Claim()
    """A volume for the model cache."""
    scratch: Scratch = Scratch()
    """The work directory on a volume that lives as long as the pod, where node disks are small."""
    volumes: list[dict[str, Any]] = []
    """Further volumes (core/v1 Volume)."""
    volume_mounts: list[dict[str, Any]] = []
    """Where they are mounted (core/v1 VolumeMount)."""
    service_account: ServiceAccount = ServiceAccount()
    """Its token is not mounted."""
    queue: str = Field("", pattern=r"^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$")
    """Kueue's LocalQueue; Kueue itself suspends the Job."""
    priority_class: NoName = ""
    """A PriorityClass that is there."""
    runtime_class: NoName = ""
    """E.g. nvidia: on k3s and RKE2 a pod has no GPU without it."""
    labels: Labels = {}
    """For the Job and its pods."""
    annotations: dict[str, str] = {}
    """For the Job and its pods."""
    proxy: Proxy = Proxy()
    """How the pod reaches the internet."""
    ca: Certificates = Certificates()
    """Certificates to trust."""
    user: int = Field(10001, ge=0)
    """User, group and fsGroup; 0: the platform sets them (OpenShift)."""
    grace_seconds: int = Field(120, ge=1, le=3600)
    """To save a checkpoint when the pod is stopped."""
    deadline_seconds: int = Field(WEEK_S, ge=60)
    """After which the run is ended, pending or not."""
    ttl_seconds: int = Field(-1, ge=-1)
    """The finished Job is deleted so long after its end; -1: it stays. (GitOps tools would make it again.)"""
    keep_old_runs: bool = False
    """An upgrade with another spec lets the run that is at work come to its end, and so does an uninstall."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """What the pod may talk to; the cluster's network plugin enforces it."""
    name_override: str = Field("", pattern=rf"^$|{DNS_LABEL}", max_length=40)
    """Begins the name of each object; else it is the release's."""


DEFAULTS: dict[str, Any] = ChartValues().model_dump(mode="json", by_alias=True)
