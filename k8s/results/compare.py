"""Reads runs of stores to compare them: what each was asked for, what it has measured, and which numbers of theirs are
comparable. The runs of a sweep are compared by the same means."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ConfigDict, ValidationError

from job.artifacts import Frozen
from job.errors import IntegrityViolated
from job.report import table
from job.report.basis import Basis, Records, on_losses
from job.report.rows import Rows, rows_of
from job.run.records import Manifest, Readable, parsed, read_manifest
from job.spec import JobSpec
from k8s.cluster.runs import Run
from k8s.errors import ObjectNotFound


class Step(Frozen):
    """One of `losses`, or of `evals`."""

    model_config = ConfigDict(extra="ignore")

    step: float
    loss: float | None = None
    eval_loss: float | None = None


class Training(Frozen):
    """What the train stage keeps, as far as it is compared; losses in nats per token, None if not a number. `cost` and
    `seconds`: of the whole run, if a price is known."""

    model_config = ConfigDict(extra="ignore")

    loss_before: float | None = None
    loss_after: float | None = None
    steps: int | None = None
    trainable: int | None = None
    tokens_per_second: float | None = None
    losses: list[Step] = []
    evals: list[Step] = []
    cost: float | None = None
    seconds: float | None = None


class Entry(NamedTuple):
    """One run. `changes`: in a sweep. `manifest`: None if it has not finished; `spec`: None if it has not begun."""

    id: str
    manifest: Manifest | None
    spec: Mapping[str, Any] | None
    changes: Mapping[str, Any] = {}
    number: int = 0
    training: Training = Training()
    rows: Rows | None = None
    lines: Sequence[table.Line] = ()

    @property
    def what(self) -> str:
        """Its changes as a person writes them."""
        return ", ".join(f"{path}={value}" for path, value in self.changes.items())

    @property
    def loss(self) -> float | None:
        """Held-out loss of the tuned model, nats per token; None without one."""
        return self.training.loss_after

    @property
    def records(self) -> Records:
        return self.manifest.stages if self.manifest else {}

    @property
    def smallest(self) -> str:
        """The smallest GGUF's type and size; empty without one."""
        quants = [one for one in self.manifest.files if f"quantize/{one.type}" in self.records] if self.manifest else []
        least = min(quants, key=lambda one: one.size, default=None)
        return f"{least.type.upper()}, {least.size / 1e6:,.0f} MB" if least else ""


class _Pinned(Frozen):
    """runs/<id>/spec.json."""

    spec: dict[str, Any]
    sources: dict[str, Any]


def entry(store: Readable, identity: str, changes: Mapping[str, Any] = {}, number: int = 0) -> Entry:
    """A run of a store, finished or not. Raises IntegrityViolated for records that cannot be read."""
    manifest = read_manifest(store, identity)
    if manifest is None:
        key = f"runs/{identity}/spec.json"
        begun = store.get(key)
        pinned = parsed(_Pinned, store, key, begun[0]) if begun else None
        return Entry(identity, None, _whole(pinned.spec) if pinned else None, changes, number)
    try:
        return _finished(identity, manifest, changes, number)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityViolated(
            f"{store.url}/runs/{identity}/manifest.json is damaged: its measurements are not those of a run",
            hint="Delete it; the next run publishes again.",
        ) from error


def _finished(identity: str, manifest: Manifest, changes: Mapping[str, Any], number: int) -> Entry:
    """All that is shown is computed once here, so that what is damaged is told by its run's name."""
    records = manifest.stages
    found = Entry(
        identity,
        manifest,
        _whole(manifest.spec),
        changes,
        number,
        Training.model_validate(_metrics(records, "train") | _metrics(records, "cost")),
        rows_of(records),
        table.lines(table.published(manifest), records),
    )
    for column in table.columns(found.lines):
        if column.basis:
            column.basis(records)
        for line in found.lines:
            column.shown(line)
    held_out_loss(found)
    return found


def _metrics(records: Records, stage: str) -> dict[str, Any]:
    return records[stage].metrics if stage in records else {}


def named(store: Readable, identity: str) -> Entry:
    """The same for a run that somebody has named. Raises ObjectNotFound if the store does not know it."""
    found = entry(store, identity)
    if found.spec is None:
        raise ObjectNotFound(
            f"there is no run {identity} in {store.url}",
            hint="A run's id is the name of its folder in runs/; those of a sweep end in their number.",
        )
    return found


def entries(store: Readable, run: Run) -> list[Entry]:
    """Every index of a sweep, in order, or the only run."""
    changes = dict(enumerate(run.sweep))
    return [entry(store, identity, changes.get(number, {}), number) for number, identity in enumerate(run.ids)]


def best_of(store: Readable, run: Run) -> Entry:
    """The index with the lowest held-out loss. Raises ObjectNotFound if no run has finished with one, or if their
    losses are not comparable."""
    found = entries(store, run)
    if all(one.loss is None for one in found):
        raise ObjectNotFound(
            f"no run of {run.name} has finished with a held-out loss", hint="Choose one with --index N."
        )
    if best := lowest(found):
        return best
    raise ObjectNotFound(
        f"the held-out losses of {run.name} are not comparable: its runs were not measured on the same rows",
        hint=f"`finetune-run compare {run.name}` shows them. Choose one with --index N.",
    )


def lowest(runs: Iterable[Entry]) -> Entry | None:
    """The run with the lowest held-out loss; None without one, or if the losses are not comparable."""
    done = [one for one in runs if one.loss is not None]
    if len(set(groups(done, held_out_loss))) > 1:
        return None
    return min(done, key=lambda one: one.loss or 0.0, default=None)


def held_out_loss(one: Entry) -> Basis | None:
    """What the held-out loss depends on beside the model: it is a mean over batches."""
    found = on_losses(one.records)
    training = (one.spec or {}).get("training") or {}
    return {**found, "evaluation batch": training.get("per_device_eval_batch_size")} if found else None


def groups(runs: Iterable[Entry], basis: Callable[[Entry], Basis | None]) -> list[int]:
    """For each run the number of the runs with which its measurement is comparable: 0 for those like the first. One of
    which it is not known on what it was measured is alone."""
    known: list[Basis | None] = []
    found = []
    for one in runs:
        mine = basis(one)
        if mine is None or mine not in known:
            known.append(mine)
            found.append(len(known) - 1)
        else:
            found.append(known.index(mine))
    return found


def _whole(spec: dict[str, Any]) -> dict[str, Any]:
    """With the defaults of fields that the release of the run did not know; as it is, if this release does not know one
    of its own."""
    try:
        return JobSpec.model_validate(spec).shown()
    except ValidationError:
        return spec
