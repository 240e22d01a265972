"""The publish stage in the parent: copies the files to each place, then writes the manifest."""

from job.artifacts import Artifact
from job.budget import budget
from job.evaluate import gate
from job.logs import span
from job.pipeline.answer import summarized
from job.pipeline.estimate import compared
from job.pipeline.state import State
from job.publish.place import Item
from job.run import cost
from job.run.records import StageRecord
from job.spec.naming import extra_name, file_names


def publish_files(state: State) -> None:
    """Copies files from the store to each place; the manifest is written last, once."""
    spec = state.spec
    items = []
    for kind, record in state.known.quants.items():
        names = file_names(spec, kind, record.artifacts)
        items += [_item(record, one, names[one.path], kind) for one in record.artifacts]
    for made in (state.known.records.get("train"), state.known.records["export"], state.known.records.get("imatrix")):
        for one in made.artifacts if made else []:
            if name := extra_name(spec, one.path):
                assert made
                items.append(_item(made, one, name, made.stage))
    assert state.files.tokens
    records = state.known.records | {f"quantize/{kind}": record for kind, record in state.known.quants.items()}
    records |= {f"evaluate/{kind}": record for kind, record in state.known.judged.items()}
    records["fetch"] = _as_trained(records["fetch"], state)
    records |= summarized(state)
    gate.check(spec, records)
    state.run.usage.flush()
    records |= compared(state) | _cost(state)
    with span("publish"):
        pinned = state.known.sources.model_dump(mode="json")
        state.manifest = state.publisher.publish(state.run.store, state.run.work / "publish", items, records, pinned)


def _cost(state: State) -> dict[str, StageRecord]:
    """A record for the manifest: what the run has cost until now, in all attempts, if the price is known."""
    limits = budget()
    if limits.price is None:
        return {}
    metrics = cost.spent(state.run.store, state.run.id, limits)._asdict() | {"price_per_hour": limits.price}
    return {"cost": StageRecord(stage="cost", key=state.run.id, artifacts=[], metrics=metrics)}


def _as_trained(record: StageRecord, state: State) -> StageRecord:
    """The fetch record as it is published: its `rows` are those that were trained and held out, not those that were
    read."""
    data, tokens = record.metrics.get("data"), state.files.tokens
    if not data or not tokens.train:
        return record
    used = {"rows": tokens.train.rows, "eval_rows": tokens.eval.rows if tokens.eval else 0}
    return record.model_copy(update={"metrics": record.metrics | {"data": data | used}})


def _item(record: StageRecord, one: Artifact, name: str, kind: str) -> Item:
    return Item(name=name, key=f"stages/{record.stage}/{record.key}/{one.path}", artifact=one, kind=kind)
