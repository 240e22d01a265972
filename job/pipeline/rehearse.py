"""The rehearsal in the parent: once for a model and what is asked of it."""

from job.artifacts import digest_of
from job.llama_cpp import bundle
from job.pipeline.state import State
from job.rehearsal import stage as rehearsal
from job.spec.canonical import canonical
from job.versions import TRAINING, versions


def rehearse(state: State) -> None:
    """Loads, adapts and exports the model without its weights, which are not fetched yet."""
    spec, pinned = state.spec, state.known.sources
    depends = {
        "model": [canonical(spec.model), pinned.model, pinned.adapter],
        "chat": canonical(spec.chat),
        "lora": canonical(spec.lora) if spec.training else None,
        "export": [spec.export.unquantized, spec.export.merge_base],
        "llama": bundle.version(),
        "versions": {name: versions().get(name) for name in TRAINING},
    }
    key = digest_of(depends)
    if state.run.record("rehearse", key) is None:
        result = state.run.child(rehearsal, rehearsal.Inputs(sources=pinned), "rehearse")
        state.run.keep("rehearse", key, state.run.work, [], result.model_dump(mode="json"), depends)
