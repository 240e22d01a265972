"""The stages in order: skips finished ones, runs the rest, keeps what each makes.

Every stage's key is the hash of exactly what its output depends on, so a run with other
`export.types` does not train again, and one whose upload failed does not quantize again. The model
itself is not kept: it is downloaded again, at its pinned commit, when a stage that needs it has to run.
"""

import shutil
from collections.abc import Callable

from rich.console import Console

from job import console
from job.budget import budget
from job.errors import JobError, StoppedUnsaved
from job.fetch import sources
from job.fetch.identity import run_id
from job.logs import log, span
from job.pipeline import preflight
from job.pipeline.agree import agree
from job.pipeline.export import export_files
from job.pipeline.fetch import fetch_rows
from job.pipeline.files import Files
from job.pipeline.known import Known
from job.pipeline.publish import publish_files
from job.pipeline.quantize import quantize_each
from job.pipeline.rehearse import rehearse
from job.pipeline.state import State
from job.pipeline.tokens import count_tokens
from job.pipeline.train import train
from job.publish.publisher import Publisher
from job.redaction import redact_all
from job.report import ending, webhook
from job.run import attempts, cost, records, supervise
from job.run.active_run import ActiveRun, opened, terminated_as_fault
from job.run.records import Manifest
from job.spec import JobSpec
from job.spec.naming import run_name
from job.spec.unused import unused

STAGES: tuple[tuple[str, Callable[[State], None]], ...] = (
    ("rehearse", rehearse),
    ("fetch", fetch_rows),
    ("tokens", count_tokens),
    ("agree", agree),
    ("train", train),
    ("export", export_files),
    ("quantize", quantize_each),
    ("publish", publish_files),
)


def run(spec: JobSpec) -> Manifest:
    """Runs a spec to its verified manifest. Raises a JobError with the exit code of what went wrong."""
    supervisor = supervise.Supervisor()
    supervisor.install()
    with opened(spec, run_id(spec), supervisor) as active:
        where = f"{active.store.url}/runs/{active.id}/manifest.json"
        finished = records.read_manifest(active.store, active.id)
        if finished:
            _check_asked(spec, active)
            records.verify_manifest(active.store, finished)
            log.info("run.already_done", manifest=where)
            _tell_result(finished, active)
            return finished
        try:
            allowed = budget()
            earlier_s = cost.spent(active.store, active.id, allowed).seconds
            with terminated_as_fault(active), cost.watched(allowed, earlier_s, supervisor.stop):
                made = _run(spec, active)
        except JobError as error:
            if not isinstance(error, StoppedUnsaved) and error.kubernetes != "Ignore":  # another attempt goes on
                webhook.tell_failed(run_name(spec), active.id, error)
            raise
        webhook.tell_done(made, where)
        shutil.rmtree(active.work, ignore_errors=True)
        _tell_result(made, active)
        log.info("run.end", manifest=where)
        return made


def _check_asked(spec: JobSpec, active: ActiveRun) -> None:
    """Whether a run that is done is the one that is asked for. Raises SpecInvalid for another spec; what this machine
    has changed since is told."""
    pinned = active.pinned()
    if pinned and (changed := sources.changed(spec, sources.Sources.model_validate(pinned))):
        what = f"the run is done, with what was there then; changed since: {', '.join(changed)}. Another run.id uses it"
        log.warning("run.inputs_changed", places=changed, what=what)


def _tell_result(manifest: Manifest, active: ActiveRun) -> None:
    """As an event, which a terminal shows as text; in a log the text is written to stderr too."""
    result = redact_all(ending.result(manifest, active.store.url))
    log.info("run.result", **result)
    if not console.wanted():
        console.show_result(result, Console(stderr=True, highlight=False))


def _run(spec: JobSpec, active: ActiveRun) -> Manifest:
    attempts.judge(active.store, active.id, active.attempt)
    for what in unused(spec):
        log.warning("spec.unused", what=what)
    with span("preflight"):
        gpu = preflight.check_gpu(spec)
        preflight.check_trackers(spec)
        preflight.check_attention(spec, gpu)
        preflight.check_folders(spec)
        publisher = Publisher(spec, active.id)
        preflight.check_access(publisher, gpu)
        pinned = sources.Sources.model_validate(active.pin(sources.resolve(spec).model_dump(mode="json")))
        model = preflight.sizes(spec, pinned)
        prediction = preflight.predicted(spec, model, gpu, sources.model_bytes(spec, pinned))
        preflight.check_memory(prediction, gpu)
        preflight.check_disk(prediction, active.work)
    known = Known(spec, pinned)
    state = State(active, publisher, known, Files(active, known), prediction)
    for name, stage in STAGES:
        active.attempt.doing(name, name)
        stage(state)
    assert state.manifest
    return state.manifest
