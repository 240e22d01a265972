"""The type that each kind of tensor gets, read from llama-quantize's output, and as text."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping

_LINE = re.compile(r"^\[ *\d+/ *\d+\] (?:blk\.\d+\.)?(\w+)\.(?:weight|bias) +- .*?(?:\((\w+)\))?$", re.M)

Mix = Mapping[str, Mapping[str, int]]
"""For each kind of tensor (`attn_v`), how many get which type (`q6_K`)."""


def mix_of(said: str) -> dict[str, dict[str, int]]:
    """The mix from llama-quantize's output, with or without `--dry-run`; without norms, which keep their type."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for tensor, target in _LINE.findall(said):
        if not tensor.endswith("_norm"):
            found[tensor][target or "f16"] += 1
    return {name: dict(types) for name, types in found.items()}


def described(mix: Mix) -> str:
    """`q4_K; attn_v: q6_K in 16 of 32 layers; …`: the most common type, then the tensors that get another."""
    if not mix:
        return ""
    ((base, _),) = sum((Counter(types) for types in mix.values()), Counter[str]()).most_common(1)
    parts: dict[str, list[str]] = defaultdict(list)
    for tensor, types in mix.items():
        for target, count in types.items():
            if target != base:
                total = sum(types.values())
                share = "" if count == total else f" in {count} of {total} layers"
                parts[f"{target}{share}"].append(tensor)
    return "; ".join([base, *(f"{' and '.join(sorted(who))}: {what}" for what, who in sorted(parts.items()))])
