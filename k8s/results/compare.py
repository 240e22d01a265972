"""Compares the runs of a sweep: what each changed, how it ended, and which has the lowest held-out loss."""

from typing import Any, NamedTuple

from job.run.records import Manifest
from k8s.cluster.runs import Run
from k8s.errors import ObjectNotFound
from k8s.results.download import Readable


class Entry(NamedTuple):
    """One index. `loss`: held-out loss of the tuned model, nats per token; None if it has not finished."""

    number: int
    id: str
    changes: dict[str, Any]
    loss: float | None
    smallest: str

    @property
    def what(self) -> str:
        """Its changes as a person writes them."""
        return ", ".join(f"{path}={value}" for path, value in self.changes.items())


def entries(store: Readable, run: Run) -> list[Entry]:
    """Every index, in order."""
    found = []
    for number, identity in enumerate(run.ids):
        text = store.get(f"runs/{identity}/manifest.json")
        manifest = Manifest.model_validate_json(text[0]) if text else None
        changes = run.sweep[number] if number < len(run.sweep) else {}
        found.append(Entry(number, identity, changes, _loss(manifest), _smallest(manifest)))
    return found


def best_of(store: Readable, run: Run) -> Entry:
    """The index with the lowest held-out loss. Raises ObjectNotFound if no run has finished with one."""
    done = [one for one in entries(store, run) if one.loss is not None]
    if not done:
        raise ObjectNotFound(
            f"no run of {run.name} has finished with a held-out loss", hint="Choose one with --index N."
        )
    return min(done, key=lambda one: one.loss or 0.0)


def _loss(manifest: Manifest | None) -> float | None:
    train = manifest.stages.get("train") if manifest else None
    return train.metrics.get("loss_after") if train else None


def _smallest(manifest: Manifest | None) -> str:
    """The smallest GGUF's type and size."""
    if manifest is None:
        return ""
    quants = [one for one in manifest.files if f"quantize/{one.type}" in manifest.stages]
    if not quants:
        return ""
    least = min(quants, key=lambda one: one.size)
    return f"{least.type.upper()}, {least.size / 1e6:,.0f} MB"
