"""The comparison with transformers in the parent: once for a model and what computes with it."""

from typing import Any

from job.agreement import stage as agreement
from job.artifacts import digest_of
from job.llama_cpp import bundle
from job.pipeline import export, train
from job.pipeline.known import Known
from job.pipeline.state import State
from job.run.records import read_stage
from job.spec.places import model_place
from job.versions import TRAINING, versions


def depends_on(known: Known) -> dict[str, Any]:
    """Everything that decides how the comparison ends."""
    return {
        "model": known.sources.model if model_place(known.spec.model.id) == "hub" else known.fetched["model_digest"],
        "dtype": known.spec.export.unquantized,
        "llama": bundle.version(),
        "versions": {name: versions().get(name) for name in TRAINING},
    }


def agree(state: State) -> None:
    """Compares llama.cpp with transformers on the model's first layers, if it is still to be trained or exported."""
    depends = depends_on(state.known)
    key = digest_of(depends)
    if _is_used(state):
        return
    record = state.run.record("agree", key)
    if record is None:
        result = state.run.child(agreement, agreement.Inputs(model=state.files.model.model), "agree")
        record = state.run.keep("agree", key, state.run.work, [], result.model_dump(mode="json"), depends)
    agreement.check(state.spec, agreement.Result.model_validate(record.metrics))


def _is_used(state: State) -> bool:
    """Whether what is made of the model first is there."""
    known = state.known
    stage, made = ("train", train.depends_on(known)) if known.spec.training else ("export", export.depends_on(known))
    return read_stage(state.run.store, stage, digest_of(made)) is not None
