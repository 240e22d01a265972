"""The chart's values: the job spec, and the deployment settings under names that are usual in charts.

values.yaml, values.schema.json and the table in the chart's README are written from this (scripts/chart.py): a field's
docstring is its comment.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from k8s.manifest.settings import DNS_LABEL, DNS_NAME, AccessMode, DataKey, EnvName, Name, Reference
from k8s.manifest.sweep import PATH
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.platforms import PlatformName

SIZE = r"^[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
Size = Annotated[str, Field(pattern=SIZE)]
NoSize = Annotated[str, Field(pattern=f"^$|{SIZE}")]
NoName = Annotated[str, Field(pattern=f"^$|{DNS_NAME}", max_length=253)]
Gpu = Literal["none", *GPU_NAMES]  # type: ignore[valid-type]
Labels = dict[str, str]
Path = Annotated[str, Field(pattern=f"^({PATH})$")]


class Values(BaseModel):
    """Base of every part of the values: unknown names are refused."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, validate_by_name=True, use_attribute_docstrings=True
    )


class Image(Values):
    repository: str = Field("", pattern=r"^([a-z0-9][\w.:/-]*)?$")
    """Required: the registry and name to which you pushed the image, e.g. ghcr.io/owner/finetune-run. Without a
    registry only with pullPolicy Never."""
    tag: str = Field("", pattern=r"^[\w.-]*$", max_length=128)
    """The tag. Empty: the chart's appVersion."""
    digest: str = Field("", pattern="^(sha256:[0-9a-f]{64})?$")
    """The digest, sha256:…. It overrides the tag, and always means the same image."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Always, IfNotPresent or Never (use the node's copy)."""


CORES = r"^[0-9]*[1-9][0-9]*(m|\.[0-9]{1,3})?$|^0*\.([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9])$"
"""More than none, to a thousandth."""


class Asked(Values):
    cpu: Annotated[str, Field(pattern=CORES)] | Annotated[float, Field(ge=0.001)] = "2"
    """CPU cores to request."""
    cpu_limit: Annotated[str, Field(pattern=r"^([0-9]+(\.[0-9]+)?m?)?$")] | float = ""
    """Limit of CPU cores, for a quota that asks for one. Empty: none, so that idle cores can be used."""
    memory: Size = "10Gi"
    """Memory to request; also the limit."""
    disk: Size = "40Gi"
    """Disk of the node: the work directory (unless it is on a scratch volume), the cache and /tmp together."""
    shm: Size = "1Gi"
    """Size of /dev/shm, which counts as memory."""


class Claim(Values):
    existing_claim: NoName = ""
    """An existing PersistentVolumeClaim."""
    size: NoSize = ""
    """Create a claim of this size, which `helm uninstall` keeps."""
    storage_class: NoName = ""
    """Storage class. Empty: the cluster's default."""
    access_mode: AccessMode = "ReadWriteOnce"
    """Access mode, also that of the existing claim. ReadWriteMany if runs of a sweep run at a time."""


class Scratch(Values):
    size: NoSize = ""
    """Size of the volume."""
    storage_class: NoName = ""
    """Storage class. Empty: the cluster's default."""


class ServiceAccount(Values):
    create: bool = False
    """Create a service account."""
    name: NoName = ""
    """The name. Empty: the release's name for one that is created, else the namespace's default account."""
    annotations: dict[str, str] = {}
    """Annotations, e.g. eks.amazonaws.com/role-arn for workload identity."""


class Proxy(Values):
    https: str = ""
    """Proxy for https://"""
    http: str = ""
    """Proxy for http://"""
    exclude: str = ""
    """Hosts that bypass the proxy, separated by commas."""


class Certificates(Values):
    config_map: NoName = ""
    """ConfigMap with all certificates to trust; it replaces the image's bundle."""
    key: DataKey = "ca.crt"
    """The key in that ConfigMap."""


Number = Annotated[int, Field(ge=1, le=65535)]


class Port(Values):
    port: Number
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class Block(Values):
    cidr: str = Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")
    ports: list[Number | Port] = []
    """TCP ports, or {port: 123, protocol: UDP}. Empty: all."""


class NetworkPolicy(Values):
    enabled: bool = False
    """Create a policy: nothing in; out only to DNS, to TCP 443, and to the addresses below. (It cannot name hosts.)"""
    egress: list[Block] = []
    """Further addresses to allow, e.g. of a store inside the cluster: {cidr: 10.0.0.0/8, ports: [9000]}. A port of
    another protocol than TCP: {port: 123, protocol: UDP}."""
    metadata: bool = True
    """Allow the node's metadata addresses (IPv4 and IPv6), which workload identity needs."""


class ChartValues(Values):
    """All values of the chart."""

    spec: dict[str, Any] = {}
    """The job spec, as in a spec file (`python -m job schema`; docs/spec.md). It needs a model and a dataset."""
    sweep: list[Annotated[dict[Path, Any], Field(min_length=1)]] = []
    """Several runs as one Indexed Job: the fields that each sets, by path in the spec.
    E.g. [{training.learning_rate: 1e-4}, {training.learning_rate: 2e-4, lora.r: 16}]"""
    parallel: int = Field(1, ge=1, le=1000)
    """How many runs of a sweep run at a time."""
    image: Image = Image()
    """The image of the job."""
    image_pull_secrets: list[Name] = []
    """Names of Secrets for pulling the image."""
    gpu: Gpu | list[Gpu] = "t4"
    """The GPU, e.g. t4. A list: any of them. none: the CPU."""
    platform: PlatformName | list[PlatformName] = "gfd"
    """How the nodes are labelled: gke, eks, karpenter, eks-auto, aks, aks-nap; gfd: NVIDIA's GPU Feature Discovery;
    custom: with the label `gpuLabel`."""
    gpu_label: str = Field("", pattern=r"^([\w./-]+=[\w.,-]+)?$")
    """key=value: the label that identifies the GPU, with platform custom."""
    spot: bool = False
    """Run on spot nodes."""
    shared: bool = False
    """Use a time-sliced share of a card instead of a whole one."""
    mig: str = Field("", pattern=r"^([1-7]g\.[0-9]+gb(\.me)?)?$")
    """Use a MIG slice, e.g. 1g.5gb, instead of a whole card."""
    single_strategy: bool = False
    """Set this if the device plugin offers shares or slices under the name of whole cards (MIG strategy `single`)."""
    resources: Asked = Asked()
    """Resource requests. `finetune-run launch --emit values` fills them in from the prediction."""
    node_selector: Labels = {}
    """Labels that the node must have, in addition to the GPU's."""
    tolerations: list[dict[str, Any]] = []
    """Further tolerations; those for the platform's GPU nodes are added automatically."""
    affinity: dict[str, Any] = {}
    """Affinity to pods, and preferred nodes. To require nodes, use gpu and nodeSelector."""
    existing_secret: NoName | list[Name] = ""
    """Secrets whose keys become variables: HF_TOKEN, AWS_ACCESS_KEY_ID, … You create them, or External Secrets does."""
    secret_env: dict[EnvName, Reference] = {}
    """Single variables: {HF_TOKEN: {name: my-secret, key: token}}"""
    secret_files: dict[Name, Annotated[str, Field(pattern=r"^/[^:]+$")]] = {}
    """Secrets mounted as folders: {my-secret: /etc/my-secret}"""
    env: dict[EnvName, str] = {}
    """Plain variables; no secrets."""
    store: Claim = Claim()
    """A volume for the run store, which outlives the pod; not needed if spec.run.store is s3://…"""
    cache: Claim = Claim()
    """A volume for the model cache."""
    inputs: str = Field("", pattern=r"^[A-Za-z0-9+/=]*$")
    """Small files that the spec names below /work/inputs, packed: `finetune-run launch --emit values` writes it."""
    scratch: Scratch = Scratch()
    """A volume for the work directory, which exists as long as the pod. For nodes with small disks."""
    volumes: list[dict[str, Any]] = []
    """Further volumes (core/v1 Volume)."""
    volume_mounts: list[dict[str, Any]] = []
    """Mounts of these volumes (core/v1 VolumeMount)."""
    service_account: ServiceAccount = ServiceAccount()
    """The service account of the pod. Its token is not mounted."""
    queue: str = Field("", pattern=r"^([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?$")
    """Kueue's LocalQueue; Kueue suspends the Job itself."""
    priority_class_name: NoName = ""
    """An existing PriorityClass."""
    runtime_class_name: NoName = ""
    """Runtime class, e.g. nvidia, which a pod on k3s and RKE2 needs for a GPU."""
    pod_labels: Labels = {}
    """Labels for the Job and its pods."""
    pod_annotations: dict[str, str] = {}
    """Annotations for the Job and its pods."""
    proxy: Proxy = Proxy()
    """Proxies through which the pod reaches the internet."""
    ca: Certificates = Certificates()
    """Certificates to trust."""
    user: int = Field(10001, ge=0)
    """User, group and fsGroup; 0: the platform sets them (OpenShift)."""
    grace_seconds: int = Field(120, ge=1, le=3600)
    """Seconds to save a checkpoint when the pod is stopped."""
    deadline_seconds: Annotated[int, Field(ge=60)] | Literal[0] = 0
    """Seconds after which the run is ended, even if it is still pending. 0: a week; of a sweep, a week for each run."""
    ttl_seconds: int = Field(-1, ge=-1)
    """Seconds after its end when the Job is deleted; -1: never. (GitOps tools would create a deleted Job again.)"""
    keep_old_runs: bool = False
    """Let an active run finish when the release is upgraded with another spec or uninstalled."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Restricts the pod's network traffic; the cluster's network plugin enforces it."""
    fullname_override: str = Field("", pattern=rf"^$|{DNS_LABEL}", max_length=40)
    """Prefix of every object's name. Empty: the release's name."""


class AcceptedValues(ChartValues):
    """The values with the names that they had in version 0.1, which are accepted until the next one."""

    priority_class: NoName = Field("", deprecated="priorityClassName")
    """Now priorityClassName."""
    runtime_class: NoName = Field("", deprecated="runtimeClassName")
    """Now runtimeClassName."""
    labels: Labels = Field({}, deprecated="podLabels")
    """Now podLabels."""
    annotations: dict[str, str] = Field({}, deprecated="podAnnotations")
    """Now podAnnotations."""
    name_override: str = Field("", pattern=rf"^$|{DNS_LABEL}", max_length=40, deprecated="fullnameOverride")
    """Now fullnameOverride."""


DEFAULTS: dict[str, Any] = ChartValues().model_dump(mode="json", by_alias=True)
