"""The fetch stage in the parent: prepares and keeps the rows, and computes the model's digest."""

from job.artifacts import digest_of
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.pipeline.state import State
from job.spec.canonical import canonical
from job.spec.places import shown_places


def fetch_rows(state: State) -> None:
    """Prepares and keeps the rows, and records the model's digest, which later keys depend on."""
    spec = state.spec
    depends = {
        "model": canonical(spec.model),
        "dataset": [shown_places(canonical(one)) for one in spec.datasets],  # `sources` tells their queries apart
        "sources": state.known.sources.model_dump(mode="json", exclude={"text"}),
        "system": spec.chat.system,
        "template": bool(spec.chat.template),
        "seed": spec.run.seed,
    } | sources.local_state(spec, text=False)
    if any(one.eval_fraction == "auto" for one in spec.datasets):
        depends["held_out"] = list(fetch_stage.held_out_wanted(spec))
    key = digest_of(depends)
    record = state.run.record("fetch", key)
    if record is None:
        result = state.run.child(fetch_stage, fetch_stage.Inputs(sources=state.known.sources), "fetch")
        state.files.model = result
        metrics = {"model_digest": result.model_digest, "adapter_digest": result.adapter_digest, "card": result.card}
        folder, names = state.run.work / "fetch" / "data", []
        if result.data:
            folder = result.data.train.parent
            names = [path.name for path in (result.data.train, result.data.eval) if path]
            metrics["data"] = result.data.model_dump(mode="json", exclude={"train", "eval"})
        record = state.run.keep("fetch", key, folder, names, metrics, depends)
        state.files.data = folder
    state.known.records["fetch"] = record
