"""Cards that no table knows: a product, or any card of a size. GPU Feature Discovery (GFD) writes on the nodes what
they have: product, memory, compute capability.

Source: the labels in the README of gpu-feature-discovery (NVIDIA/k8s-device-plugin).
"""

import re
from collections.abc import Iterable, Mapping
from math import ceil

from job.predict.gpus import GPUS, Gpu, gpus_named
from k8s.errors import SettingsInvalid
from k8s.placement.gpu_names import REPORTED, size_of
from k8s.placement.kinds import MAJOR, MINOR, PRODUCT, uncut
from k8s.placement.nodes import MEMORY, Node

ASSUMED = (8, 0)
"""The compute capability of a card of which nothing says it."""
_PRODUCT = re.compile(r"(nvidia|tesla|quadro|geforce|grid|titan)-[a-z0-9._-]{1,60}[a-z0-9]", re.I | re.A)
_SIZE = re.compile(r"([1-9][0-9]{0,2})[\s-]*gb?", re.I)
_MAKERS = {
    "AMD": r"amd\b.*|radeon.*|instinct.*|mi[0-9]{2,3}[a-z]?|rx-?[0-9]{4}.*|w[0-9]{4}",
    "Intel": r"intel\b.*|gaudi.*|habana.*|hl-?[0-9]{3}|arc\b.*|(data-center-)?gpu-(max|flex).*|(max|flex)-[0-9]{3,4}",
    "Google": r"tpu.*|v[2-6]([ep]|[ep]?-[0-9]+.*)|ct[0-9][a-z]*|ironwood.*|trillium.*",
    "AWS": r"trainium.*|inferentia.*|trn[0-9].*|inf[0-9].*|neuron.*",
    "Apple": r"apple.*|m[1-5](-(pro|max|ultra))?|mps|metal",
    "Huawei": r"ascend.*|910[a-d]",
}


def cards_named(text: str) -> list[str]:
    """The cards of one name of --gpu: names of job/predict/gpus.py; a product as GFD writes it; for `40gb`, each known
    card with at least so much and the size itself, which stands for all others. Raises SettingsInvalid."""
    written = re.sub(r"[_\s]+", "-", text.strip())
    if sized := _SIZE.fullmatch(written):
        size = f"{sized[1]}gb"
        return [*(name for name, gpu in GPUS.items() if gpu.memory >= (size_of(size) or 0)), size]
    for maker, names in _MAKERS.items():
        if re.fullmatch(names, written, re.I):
            raise SettingsInvalid(
                f"--gpu: {text[:40]!r} is a card of {maker}: a run needs CUDA, which only NVIDIA's have",
                hint=f"Known: {', '.join(GPUS)}. Or write auto, or none for the CPU.",
            )
    try:
        return [gpu.name for gpu in gpus_named(text)]
    except ValueError as error:
        if not is_product(written):
            raise SettingsInvalid(
                f"--gpu: {error}",
                hint="Of another card, write the product, as `finetune-run gpus` and the nodes' label "
                f'{PRODUCT} have it: "NVIDIA RTX A6000"; or 40gb: any with at least so much memory. Or write auto, or '
                "none for the CPU.",
            ) from error
    if uncut(written) != written:
        raise SettingsInvalid(
            f"--gpu: {text[:60]!r} is a slice or a share of a card",
            hint=f"Write --gpu {uncut(written)} with --mig PROFILE or --shared.",
        )
    return [written]


def at_least(name: str, needs: int | None) -> str:
    """The size that the run needs, if it is more than this one; any other name as it is."""
    return f"{ceil((needs or 0) / 1e9 / REPORTED)}gb" if 0 < (size_of(name) or 0) < (needs or 0) else name


def is_product(name: str) -> bool:
    """Whether it may be a product of GFD's."""
    return _PRODUCT.fullmatch(name) is not None


def is_known(name: str) -> bool:
    return name in GPUS


def as_labelled(names: Iterable[str], nodes: Iterable[Node]) -> list[str]:
    """The names, with products in the case of the nodes' labels: the scheduler compares exactly."""
    written = {product.lower(): product for node in nodes if (product := uncut(node.labels.get(PRODUCT, "")))}
    return [name if is_known(name) else written.get(name.lower(), name) for name in names]


def gpu_seen(name: str, nodes: Iterable[Node]) -> Gpu | None:
    """A product's or a size's least memory and capability on the nodes that have it, of unknown speed; None if there is
    no such node, or its labels do not say them."""
    found = [seen for node in nodes if _is(name, node.labels) and (seen := _labelled(node.labels))]
    if not found:
        return None
    return Gpu(name, min(memory for memory, _ in found), min(capability for _, capability in found))


def _is(name: str, labels: Mapping[str, str]) -> bool:
    size = size_of(name)
    if size is None:
        return uncut(labels.get(PRODUCT, "")) == name
    return _mib(labels) << 20 >= size and "nvidia.com/gpu.slices.gi" not in labels


def _labelled(labels: Mapping[str, str]) -> tuple[int, tuple[int, int]] | None:
    major, minor = labels.get(MAJOR, ""), labels.get(MINOR, "")
    if not _mib(labels) or not major.isdecimal() or not minor.isdecimal():
        return None
    return _mib(labels) << 20, (int(major), int(minor))


def _mib(labels: Mapping[str, str]) -> int:
    text = labels.get(MEMORY, "")
    return int(text) if text.isdecimal() else 0
