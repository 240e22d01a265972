"""The fetch stage in the parent: prepares and keeps the rows, and computes the model's digest."""

from job.artifacts import digest_of
from job.errors import SpecInvalid
from job.fetch import sources
from job.fetch import stage as fetch_stage
from job.fetch.float16 import LARGEST
from job.logs import log
from job.pipeline.state import State
from job.spec.canonical import canonical
from job.spec.places import shown_places


def fetch_rows(state: State) -> None:
    """Prepares and keeps the rows, and records the model's digest, which later keys depend on."""
    spec = state.spec
    depends = {
        "model": canonical(spec.model),
        "dataset": [shown_places(canonical(one)) for one in spec.datasets],  # `sources` tells their queries apart
        "sources": state.known.sources.model_dump(mode="json", exclude={"text", "tasks", "imatrix"}),
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
        metrics["beyond_float16"] = result.beyond_float16
        folder, names = state.run.work / "fetch" / "data", []
        if result.data:
            folder = result.data.train.parent
            names = [path.name for path in (result.data.train, result.data.eval) if path]
            metrics["data"] = result.data.model_dump(mode="json", exclude={"train", "eval"})
        record = state.run.keep("fetch", key, folder, names, metrics, depends)
        state.files.data = folder
    state.known.records["fetch"] = record
    if beyond := record.metrics.get("beyond_float16"):
        _avoid_float16(state, *beyond)


def _avoid_float16(state: State, name: str, value: float) -> None:
    """Makes `export.dtype: auto` bf16. Raises SpecInvalid if the spec asks for float16."""
    export = state.spec.export
    what = f"{name} of {state.spec.model.id} holds {value:.4g}; float16 ends at {LARGEST:.0f}"
    if export.dtype == "f16":
        raise SpecInvalid(f"export.dtype: {what}", hint="Leave it out: the file is bf16 then.")
    if "f16" in export.types:
        raise SpecInvalid(f"export.types: there can be no f16: {what}", hint="Write bf16 in its place.")
    if export.dtype == "auto":
        log.warning("fetch.beyond_float16", what=f"{what}: the types are made from a bf16 file")
        state.export_as("bf16")
