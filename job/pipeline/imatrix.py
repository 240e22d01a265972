"""The imatrix stage in the parent: the importance matrix, computed or the user's own."""

from pathlib import Path

from job.artifacts import digest_of
from job.errors import DataInvalid
from job.fetch.model import bring_file
from job.llama_cpp import imatrix
from job.llama_cpp.windows import MOST_CHUNKS
from job.logs import log, span
from job.pipeline.state import State
from job.run.records import StageRecord
from job.spec.naming import IMATRIX
from job.spec.quants import HELPED_BY_IMATRIX, NEEDS_IMATRIX


def importance_matrix(state: State, made: str) -> StageRecord | None:
    """The matrix from the training rows (`auto`) if a type needs one or gains from it, or the user's own file; kept
    like a stage's work."""
    export = state.spec.export
    wanted, types = export.imatrix, set(export.presets)
    if wanted == "none" or not (export.fits or types & HELPED_BY_IMATRIX):
        return None
    own = None if wanted == "auto" else bring_file(wanted, state.run.work / "own-imatrix")
    data = state.known.fetched.get("data") or {}
    if own is None and not data:
        return None
    depends = {
        "export": made,
        "text": imatrix.digest_of_file(own) if own else state.known.made("tokens", "calibration.txt"),
        "size": [state.spec.evaluation.context, MOST_CHUNKS],
    }
    key = digest_of(depends)
    record = state.run.record("imatrix", key)
    if record is None:
        folder = state.run.work / "imatrix"
        folder.mkdir(parents=True, exist_ok=True)
        state.run.attempt.doing("imatrix", "imatrix")
        with span("imatrix"):
            if own:
                imatrix.copy_checked(own, folder / IMATRIX)
            elif not _computed(state, folder, needed=bool(types & NEEDS_IMATRIX)):
                return None
        record = state.run.keep("imatrix", key, folder, [IMATRIX], {"own": own is not None}, depends)
    state.known.records["imatrix"] = record
    return record


def matrix_file(state: State, record: StageRecord | None) -> Path | None:
    """The matrix on this disk."""
    if record is None:
        return None
    state.run.bring(record, state.run.work / "imatrix")
    return state.run.work / "imatrix" / record.artifacts[0].path


def _computed(state: State, folder: Path, *, needed: bool) -> bool:
    """Computes it from the training rows. Too few rows are an error only if a type needs the matrix."""
    text, context = state.files.tokens.calibration, state.spec.evaluation.context
    assert text
    try:
        imatrix.make_imatrix(state.files.gguf, text, folder / IMATRIX, context=context)
    except DataInvalid as error:
        if needed:
            raise
        log.warning("imatrix.none", why=error.message, what="the types are made without one")
        return False
    return True
