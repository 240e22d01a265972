"""The stages in order: skip what is done, run the rest, keep what each makes.

Every stage's key is the hash of exactly what its output depends on, so a run with other
`export.types` does not train again, and one whose upload failed does not quantize again. The model
itself is never kept: it is fetched again, by its pinned commit, when a stage that needs it has to run.
"""

import shutil
from collections.abc import Callable

from job import attempts, gate, manifest, preflight, sources, supervise, webhook
from job.active_run import ActiveRun, opened
from job.artifacts import Artifact, digest_of
from job.errors import JobError
from job.gguf_header import cache_bytes, read_metadata
from job.logs import log, span
from job.manifest import Manifest, StageRecord
from job.naming import extra_name, file_names, lora_name, run_name
from job.quantizing import quantize_each
from job.spec import JobSpec
from job.stages import fetch, publish
from job.state import State
from job.training_run import train


def fetch_rows(state: State) -> None:
    """The rows, prepared and kept; the model's digest, which later keys depend on."""
    spec = state.spec
    depends = {
        "model": spec.model.model_dump(mode="json"),
        "dataset": [one.model_dump(mode="json") for one in spec.datasets],
        "sources": state.sources.model_dump(mode="json", exclude={"text"}),
        "system": spec.chat.system,
        "seed": spec.run.seed,
    } | sources.local_state(spec, text=False)
    key = digest_of(depends)
    record = state.run.record("fetch", key)
    if record is None:
        result = state.child(fetch, fetch.Inputs(sources=state.sources), "fetch")
        state.model = result
        metrics = {"model_digest": result.model_digest, "adapter_digest": result.adapter_digest, "card": result.card}
        folder, names = state.run.work / "fetch" / "data", []
        if result.data:
            folder = result.data.train.parent
            names = [path.name for path in (result.data.train, result.data.eval) if path]
            metrics["data"] = result.data.model_dump(mode="json", exclude={"train", "eval"})
        record = state.run.keep("fetch", key, folder, names, metrics, depends)
        state.data = folder
    state.records["fetch"] = record


def export_files(state: State) -> None:
    """The export's record: what is published beside the quantized files (adapter GGUF, merged model)."""
    extra = {"adapter": state.spec.export.adapter, "merged": state.spec.export.merged}
    depends = state.exported() | extra
    key = digest_of(depends)
    record = state.run.record("export", key)
    if record is None:
        gguf = state.gguf
        folder = gguf.parent
        found = [path for path in (folder / lora_name(state.spec), *folder.glob("merged/**/*")) if path.is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in found)
        metrics = {"size": gguf.stat().st_size, "cache_bytes_per_token": cache_bytes(read_metadata(gguf))}
        record = state.run.keep("export", key, folder, names, metrics, depends)
    state.records["export"] = record


def publish_files(state: State) -> None:
    """Copies from the store to where people look; the manifest is written last, once."""
    spec = state.spec
    items = []
    for kind, record in state.quants.items():
        names = file_names(spec, kind, record.artifacts)
        items += [_item(record, one, names[one.path], kind) for one in record.artifacts]
    for made in (state.records.get("train"), state.records["export"], state.records.get("imatrix")):
        for one in made.artifacts if made else []:
            if name := extra_name(spec, one.path):
                assert made
                items.append(_item(made, one, name, made.stage))
    assert state.held_out
    records = state.records | {f"quantize/{kind}": record for kind, record in state.quants.items()}
    records |= {f"evaluate/{kind}": record for kind, record in state.judged.items()}
    gate.check(spec, records)
    state.run.usage.flush()
    with span("publish"):
        pinned = state.sources.model_dump(mode="json")
        state.manifest = state.publisher.publish(state.run.store, state.run.work / "publish", items, records, pinned)


def _item(record: StageRecord, one: Artifact, name: str, kind: str) -> publish.Item:
    return publish.Item(name=name, key=f"stages/{record.stage}/{record.key}/{one.path}", artifact=one, kind=kind)


STAGES: tuple[tuple[str, Callable[[State], None]], ...] = (
    ("fetch", fetch_rows),
    ("train", train),
    ("export", export_files),
    ("quantize", quantize_each),
    ("publish", publish_files),
)


def run(spec: JobSpec) -> Manifest:
    """Runs a spec to its verified manifest. Raises a JobError with the exit code of what went wrong."""
    supervisor = supervise.Supervisor()
    supervisor.install()
    with opened(spec, supervisor) as active:
        where = f"{active.store.url}/runs/{active.id}/manifest.json"
        finished = manifest.read_manifest(active.store, active.id)
        if finished:
            manifest.verify_manifest(active.store, finished)
            log.info("run.already_done", manifest=where)
            return finished
        try:
            made = _run(spec, active)
        except JobError as error:
            if error.kubernetes != "Ignore":
                webhook.tell_failed(run_name(spec), active.id, error)
            raise
        webhook.tell_done(made, where)
        shutil.rmtree(active.work, ignore_errors=True)
        log.info("run.end", manifest=where)
        return made


def _run(spec: JobSpec, active: ActiveRun) -> Manifest:
    attempts.judge(active.store, active.id, active.attempt)
    with span("preflight"):
        gpu = preflight.check_gpu(spec)
        preflight.check_trackers(spec)
        publisher = publish.Publisher(spec, active.id)
        preflight.check_access(publisher, gpu)
        pinned = sources.Sources.model_validate(active.pin(sources.resolve(spec).model_dump(mode="json")))
        config = sources.config_of(spec, pinned)
        preflight.check_memory(spec, config, gpu)
        preflight.check_disk(spec, config, active.work, sources.model_bytes(spec, pinned))
    state = State(active, pinned, publisher)
    for name, stage in STAGES:
        active.attempt.doing(name, name)
        stage(state)
    assert state.manifest
    return state.manifest
