"""Any spec, placement and deployment settings that the launcher could send, for the comparison with the chart."""

from typing import Any

from hypothesis import strategies as st

from k8s.errors import LauncherError
from k8s.manifest.settings import GIB, Reference, Resources, Scratch
from k8s.placement.gpu_names import GPU_NAMES
from k8s.placement.nodes import Node, Toleration
from k8s.placement.place import place
from k8s.placement.placement import Placement
from k8s.placement.wish import Wish

TWISTED = [
    *(
        "off",
        "on",
        "y",
        "n",
        "Yes",
        "012",
        "0x1f",
        "2e-4",
        "1_000",
        "~",
        "null",
        "true",
        "1:30",
        "=",
        "- a",
        "a: b",
        "'",
    ),
    *(
        "{{ x }}",
        "ä # b",
        '"',
        " a ",
        "%",
        "@x",
        "*a",
        "&a",
        "!t",
        "|",
        ">",
        "2026-11-23",
        ".5",
        "1e3",
        "NaN",
        "\\n",
        "'",
    ),
]
"""Texts that some reader of YAML takes for something else."""
words = st.sampled_from(TWISTED) | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)
plain = st.text("abcXYZ 0123,:;{}'\"#&*!|>%@`~=-_./\\é", max_size=12)
keys = st.sampled_from(["y", "on", "012", "team", "a.b/c", "x.y/2e-4"])
labels = st.dictionaries(keys, st.sampled_from(["", "off", "012", "2e-4", "y", "a_b", "1.0"]), max_size=3)
numbers = st.floats(1e-6, 0.9).map(lambda number: float(f"{number:.6g}"))


def maybe(strategy: Any) -> Any:
    return st.none() | strategy


def section(**fields: Any) -> Any:
    return st.fixed_dictionaries({}, optional=fields)


columns = st.dictionaries(st.sampled_from(["prompt", "completion", "messages", "text"]), words, max_size=2)
dataset = st.fixed_dictionaries(
    {"id": st.sampled_from(["c/d", "off/y", "s3://bucket/rows.jsonl"])},
    optional={"columns": columns, "limit": st.integers(1, 10**9), "split": words, "weight": numbers},
)
spec_data = st.fixed_dictionaries(
    {"model": st.fixed_dictionaries({"id": st.sampled_from(["a/b", "012/2e-4", "gpt2"])}, optional={"revision": words}),
     "dataset": dataset | st.lists(dataset, min_size=1, max_size=2)},
    optional={
        "chat": section(system=maybe(words), template=maybe(words.map("{}{{{{ messages }}}}".format))),
        "load": section(bits=st.sampled_from([4, 16]), double_quant=st.booleans()),
        "lora": section(r=st.integers(1, 512), dropout=st.sampled_from([0, 0.1, 0.05, 1e-05])),
        "training": maybe(
            section(learning_rate=numbers, max_steps=st.integers(1, 10**7), num_train_epochs=numbers)
        ),
        "export": section(types=st.sampled_from([["q4_k_m"], ["q8_0", "f16"]]), imatrix=st.just("none")),
        "publish": section(
            s3=st.sampled_from(["s3://bucket/out", "s3://bucket/out/"]),
            hub=st.fixed_dictionaries({"repo_id": st.sampled_from(["me/out", "me/out-GGUF", "me/off-gguf"])}),
        ),
        "run": section(
            seed=st.integers(0, 2**32 - 1), id=names, store=st.sampled_from(["s3://bucket/runs", "/store/x"])
        ),
    },
)  # fmt: skip
AWS = Node(name="cpu", labels={}, taints=(), gpus={}, provider_id="aws:///x/i-1")
wishes = st.builds(
    dict,
    gpus=st.just(("none",)) | st.lists(st.sampled_from([*GPU_NAMES]), min_size=1, max_size=3, unique=True).map(tuple),
    platform=st.sampled_from([None, "gke", "eks", "karpenter", "eks-auto", "aks", "aks-nap", "gfd"]),
    label=st.sampled_from([None, None, None, "gpu=t4", "example.com/card=y,012"]),
    spot=st.booleans(),
    shared=st.booleans(),
    mig=st.sampled_from(["", "", "1g.5gb", "3g.40gb"]),
    tolerations=st.sampled_from(
        [(), (), (Toleration("team", "off"), Toleration("y", None, None)), (Toleration("012", ""),)]
    ),
)


@st.composite
def placements(draw: Any) -> Placement:
    """Any that the launcher could choose; with no platform named, those of a cluster on AWS."""
    wish = Wish(**draw(wishes))
    try:
        return place(wish, None if wish.platform or wish.label else [AWS])
    except LauncherError:
        return Placement()


variables = st.sampled_from(["y", "NO_COLOR", "https_proxy", "HOME", "FINETUNE_GPU"])
references = st.builds(Reference, name=names, key=names)
volume = st.builds(
    lambda name, medium: {"name": name, "emptyDir": {"sizeLimit": "1Gi"} | medium},
    st.sampled_from(["v", "v-012"]),
    st.sampled_from([{}, {"medium": "Memory"}]),
)
gibibytes = st.integers(1, 300).map(lambda count: count * GIB) | st.just(1500 << 20)
zones = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["off", "012"]}]}
preferred = {
    "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": zones}]},
    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "y"}]},
}
settings = st.fixed_dictionaries(
    {"image": st.sampled_from(["localhost/x:0.1.0", f"ghcr.io/me/x@sha256:{'a' * 64}", "r.example:5000/a/b:012"]),
     "name": names.map(lambda name: f"job-{name}"), "namespace": st.just("team"), "placement": placements()},
    optional={
        "resources": st.builds(Resources, cpu=st.sampled_from([0.5, 2, 16]), memory=gibibytes, disk=gibibytes,
                               cpu_limit=st.sampled_from([None, 16, 31.5])),
        "pull_policy": st.sampled_from(["Always", "Never"]),
        "pull_secrets": st.lists(names, max_size=2, unique=True).map(tuple),
        "env": st.dictionaries(variables, plain, max_size=3),
        "env_secrets": st.lists(names, max_size=2, unique=True).map(tuple),
        "secret_env": st.dictionaries(st.sampled_from(["HF_TOKEN", "off"]), references),
        "secret_files": st.dictionaries(names, st.sampled_from(["/etc/a", "/etc/012"]), max_size=2),
        "store_pvc": maybe(names), "cache_pvc": maybe(names), "inputs": st.sampled_from(["", "H4sIAAAA"]),
        "scratch": maybe(st.builds(Scratch, size=gibibytes, storage_class=maybe(names))),
        "service_account": maybe(names), "priority_class": maybe(names), "runtime_class": maybe(names),
        "queue": maybe(names), "parallel": st.integers(1, 9),
        "labels": labels, "annotations": st.dictionaries(keys, plain, max_size=2), "node_selector": labels,
        "affinity": st.sampled_from([{}, preferred]),
        "volumes": st.lists(volume, max_size=1).map(tuple),
        "volume_mounts": st.sampled_from([(), ({"name": "v", "mountPath": "/mnt/012"},)]),
        "https_proxy": maybe(st.just("http://proxy:3128")), "no_proxy": maybe(st.just(".svc,10.0.0.0/8")),
        "ca": maybe(references),
        "user": maybe(st.integers(1, 2**31)), "grace_s": st.integers(1, 3600), "deadline_s": st.integers(60, 10**8),
        "ttl_s": maybe(st.integers(0, 10**8)),
    },
)  # fmt: skip
modes = st.sampled_from(["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"])


@st.composite
def with_modes(draw: Any) -> dict[str, Any]:
    """Deployment settings with the access modes of their claims; the chart takes those it is not told of for
    ReadWriteOnce."""
    found = draw(settings)
    claims = {found.get("store_pvc"), found.get("cache_pvc")} - {None}
    return found | {"access_modes": {claim: draw(modes) for claim in sorted(claims)}}


deployments = with_modes()
sweeps = st.sampled_from(
    [
        [],
        [],
        ["training.learning_rate=1e-4,2e-4", "lora.r=8,16"],
        ["dataset.split=off,012,a b"],
        ["recipe=classic,modern"],
    ]
)
