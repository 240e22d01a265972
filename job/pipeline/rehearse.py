"""The rehearsal in the parent: once for a model and what is asked of it."""

from typing import Any

from job.artifacts import digest_of
from job.fetch import sources
from job.llama_cpp import bundle
from job.node import gpu_here
from job.pipeline import preflight
from job.pipeline.known import Known
from job.pipeline.state import State
from job.predict.counted import Counted
from job.rehearsal import stage as rehearsal
from job.spec.canonical import canonical
from job.versions import TRAINING, versions


def depends_on(known: Known) -> dict[str, Any]:
    """Everything that decides how a rehearsal ends."""
    spec, pinned = known.spec, known.sources
    return {
        "model": [canonical(spec.model), pinned.model, pinned.adapter, *sources.model_state(spec).values()],
        "chat": canonical(spec.chat),
        "training": [canonical(spec.load), canonical(spec.lora), spec.training.trainer] if spec.training else None,
        **({"attention": spec.training.attention} if spec.training and spec.training.attention else {}),
        "export": [spec.export.unquantized, spec.export.merge_base],
        **({"fits": [canonical(fit) for fit in spec.export.fits]} if spec.export.fits else {}),
        "checks": rehearsal.CHECKS,
        "llama": bundle.version(),
        "versions": {name: versions().get(name) for name in TRAINING},
    }


def rehearse(state: State) -> None:
    """Loads, adapts and exports the model without its weights, which are not fetched yet."""
    depends = depends_on(state.known)
    key = digest_of(depends)
    record = state.run.record("rehearse", key)
    if record is None:
        result = state.run.child(rehearsal, rehearsal.Inputs(sources=state.known.sources), "rehearse")
        record = state.run.keep("rehearse", key, state.run.work, [], result.model_dump(mode="json"), depends)
    if sizes := record.metrics.get("sizes"):
        _predict_again(state, Counted.model_validate(sizes))


def _predict_again(state: State, built: Counted) -> None:
    """Predicts from the model as its class makes it, where its files' headers alone were counted before, and checks
    what is here against that. Raises EnvironmentUnfit."""
    before = state.prediction
    if before and before.model:  # of the files it knows more
        built = built.model_copy(update={"files": before.model.stored_bytes, "stored": before.model.stored})
    gpu = gpu_here()
    state.prediction = preflight.predicted(state.spec, built, gpu, before.sizes.base if before else None)
    preflight.check_memory(state.prediction, gpu)
    preflight.check_disk(state.prediction, state.run.work)
