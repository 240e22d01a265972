"""Fields that a spec sets and that nothing in its run reads. They are told, not refused: a team's defaults may set
them, and a run of a sweep may have no use for what another one needs."""

from collections.abc import Iterator

from job.spec.spec import JobSpec
from job.spec.types import Section

_OF_BITS = {"quant_type": (4,), "double_quant": (4,), "frozen_dtype": (4, 8)}
"""Fields of `load` that matter for some numbers of bits."""


def unused(spec: JobSpec) -> Iterator[str]:
    """A sentence for each such field."""
    for name, bits in _OF_BITS.items():
        if name in _set(spec.load) and spec.load.bits not in bits:
            named = " and ".join(map(str, bits))
            yield f"load.{name} is not used: it is for {named} bits, and load.bits is {spec.load.bits}"
    if spec.training is None:
        sections = {"lora": spec.lora} | ({} if spec.export.merge_base == "quantized" else {"load": spec.load})
        for section, fields in sections.items():
            yield from (f"{section}.{name} is not used: nothing is trained" for name in _set(fields))


def _set(section: Section) -> list[str]:
    return list(section.model_dump(exclude_defaults=True))
