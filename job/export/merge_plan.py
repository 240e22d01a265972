"""Assigns an adapter's changes to the tensors of a base model.

Tied embeddings: if an adapter changes only the input or only the output side, the two differ, so the output side
becomes a tensor of its own (as with PEFT's saved modules; PEFT's merge of a low-rank adapter on one side changes
both, which is not what was trained). They stay tied if PEFT trained them as one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from job.errors import IntegrityViolated
from job.export.merge import Change, LowRank, Replace, Requantized, Rows
from job.export.peft_adapter import INPUT, PeftAdapter
from job.export.tying import OUTPUT
from job.spec.training import CLAMPED

Shapes = Mapping[str, tuple[int, ...]]

_NOT_QUANTIZED = (
    *INPUT, *OUTPUT, *(f"{name}.weight" for name in CLAMPED), "wpe.weight", "router.weight", "mlp.gate.weight",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Changes by tensor name, and tensors that the base does not have with the tensor they start from."""

    changes: dict[str, list[Change]]
    sources: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    """The shape of each changed or new tensor."""

    @property
    def unties(self) -> bool:
        """Whether the result has a separate output embedding that the base does not have."""
        return bool(self.sources)

    @property
    def vocab_size(self) -> int | None:
        """Rows of the input embedding, if the adapter contains the whole of it, or rows of it."""
        for name, changes in self.changes.items():
            if name.endswith(INPUT) and any(isinstance(change, Replace | Rows) for change in changes):
                return self.shapes[name][0]
        return None


EMPTY = Plan({}, {}, {})


def plan(
    adapter: PeftAdapter,
    base: Shapes,
    *,
    tied: bool,
    apart: bool = False,
    names: Mapping[str, str] | None = None,
    requantized: Requantized | None = None,
) -> Plan:
    """The changes for a base. Raises IntegrityViolated for changes that fit no tensor of it, by name or by shape.

    `names`: the base's by those that transformers gives them (file_names.py); `tied`, `apart`: what the config and the
    files say of input and output embedding (tying.py); `requantized`: merge into what the quantized weights stand for,
    and so replace every linear weight, as training quantized every one.
    """
    wanted = adapter.changes()
    changes: dict[str, list[Change]] = {}
    unmatched: list[str] = []
    for name, steps in wanted.items():
        match = next((n for n in _spellings(name) if n in base), (names or {}).get(name))
        if match is None and tied and name.endswith(OUTPUT):
            match = name
        if match is None:
            unmatched.append(name)
        else:
            changes.setdefault(match, []).extend(steps)
    if unmatched:
        raise IntegrityViolated(
            f"the adapter changes {len(unmatched)} tensors that the base model does not have: "
            + ", ".join(sorted(unmatched)[:8]),
            hint="It was trained on another model. Set model.id to the one in its adapter_config.json.",
        )
    sources = _untied(adapter, changes, base, apart=apart) if tied else {}
    if requantized:
        for name in base:
            if _was_quantized(name, base[name]) and not any(isinstance(c, Replace) for c in changes.get(name, [])):
                changes.setdefault(name, []).insert(0, requantized)
    shapes = {name: _shape(name, steps, base[sources.get(name, name)]) for name, steps in changes.items()}
    return Plan(changes, sources, shapes)


def _untied(adapter: PeftAdapter, changes: dict[str, list[Change]], base: Shapes, *, apart: bool) -> dict[str, str]:
    """For tied embeddings: what the output side is made from, if it becomes a tensor of its own. PEFT goes by the
    config, also if the files have two that are `apart`."""
    embedding = next((name for name in base if name.endswith(INPUT)), None)
    if embedding is None:
        return {}
    head = next((name for name in (*changes, *base) if name.endswith(OUTPUT)), "lm_head.weight")
    if embedding not in changes and head not in changes:
        return {}
    as_one = adapter.keeps_embeddings_tied or all(
        isinstance(change, Rows) for name in (embedding, head) for change in changes.get(name, [])
    )
    if as_one:
        of_head = changes.pop(head, [])
        changes.setdefault(embedding, of_head)
        if head in base:
            changes[head] = changes[embedding]
        return {}
    if apart:
        return {}
    changes.setdefault(head, [])
    return {head: embedding}


def _spellings(name: str) -> Iterator[str]:
    """The names that a tensor of transformers' model can have in the files, e.g. of a language model inside another
    model."""
    yield name
    yield name.replace("model.language_model.", "language_model.model.")
    yield name.replace("language_model.", "")
    yield f"model.{name}"
    yield name.removeprefix("model.")


def _was_quantized(name: str, shape: tuple[int, ...]) -> bool:
    """Whether bitsandbytes quantized a tensor: every nn.Linear except the output embedding; experts are not
    nn.Linear."""
    return len(shape) == 2 and name.endswith(".weight") and not name.endswith(_NOT_QUANTIZED) and "experts." not in name


def _shape(name: str, steps: list[Change], shape: tuple[int, ...]) -> tuple[int, ...]:
    for step in steps:
        new = step.shape_of(shape)
        resized = isinstance(step, Replace | Rows) and name.endswith(INPUT + OUTPUT) and new[1:] == shape[1:]
        if new != shape and not resized:
            what = "its product has" if isinstance(step, LowRank) else "it saves"
            raise IntegrityViolated(
                f"the adapter does not fit {name}: {what} shape {list(new)}, the base model has {list(shape)}",
                hint="It was trained on another model or size. Set model.id to the one in its adapter_config.json.",
            )
        shape = new
    return shape
