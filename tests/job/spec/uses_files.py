"""What is exported, quantized and judged for a spec, with a tiny model and the bundled llama.cpp."""

import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from job.artifacts import digest_of
from job.errors import JobError
from job.export import stage as export_stage
from job.fetch.sources import Sources
from job.llama_cpp import process
from job.pipeline.files import Files
from job.pipeline.known import Known
from job.pipeline.quantize import quantize_each
from job.pipeline.state import State
from job.publish.publisher import Publisher
from job.run import attempts
from job.run.active_run import ActiveRun
from job.run.supervise import Supervisor
from job.spec import JobSpec
from job.store import open_store
from job.tokens import stage as tokens
from tests.job.spec.uses import Ground, hashes, jsonl
from tests.tiny_models import training_text

LINES = [line for line in training_text().split("\n") if len(line) > 60][:60]


def exported(spec: JobSpec, ground: Ground) -> Any:
    """The files that the export makes of the tiny model and its adapter."""
    assert ground.model
    folder = ground.folder()
    try:
        export_stage.run(spec, export_stage.Inputs(model=ground.model, adapter=ground.adapter, name="tiny"), folder)
    except JobError as error:
        return f"refused: {error.message}"
    return hashes(folder)


def judged(spec: JobSpec, ground: Ground) -> Any:
    """The commands that llama.cpp is given from the unquantized file on, and the files that come of them."""
    assert ground.model
    folder = ground.folder()
    rows = [{"text": line} for line in LINES]
    (folder / "data").mkdir()
    for name in ("train", "eval"):
        (folder / "data" / f"{name}.jsonl").write_bytes(jsonl(rows))
    (folder / "text.txt").write_text("\n".join(LINES))
    state = _state(spec, folder)
    state.files.__dict__ |= {  # what other stages bring
        "model": SimpleNamespace(model=ground.model),
        "data": folder / "data",
        "gguf": _unquantized(ground),
        "tokens": _tokens(spec, ground.model, folder),
    }
    state.known.records["tokens"] = state.run.keep("tokens", "key", folder / "tokens", None, {}, {})
    with _commands() as commands:
        try:
            quantize_each(state)
        except JobError as error:
            return f"refused: {error.message}"
    files = {kind: [item.path for item in record.artifacts] for kind, record in state.known.quants.items()}
    return [[re.sub(rf"{ground.root}/\d+/", "", command) for command in commands], files]


def _state(spec: JobSpec, folder: Path) -> State:
    store = open_store(str(folder / "store"))
    nothing: Any = None
    run = ActiveRun(spec, "one", folder, store, attempts.begin(store, "one"), Supervisor(), nothing, nothing)
    known = Known(spec, Sources(model="pinned", text="pinned" if spec.evaluation.text else None))
    metrics = {"model_digest": "m", "adapter_digest": "a", "data": {"digest": "d", "kind": "text", "eval_rows": 9}}
    known.records["fetch"] = run.keep("fetch", digest_of(metrics), folder / "data", ["train.jsonl"], metrics, {})
    return State(run, Publisher(spec, "one"), known, Files(run, known))


def _tokens(spec: JobSpec, model: Path, folder: Path) -> tokens.Result:
    text = folder / "text.txt" if spec.evaluation.text else None
    inputs = tokens.Inputs(
        model=model, rows=folder / "data" / "eval.jsonl", train=folder / "data" / "train.jsonl", text=text
    )
    (folder / "tokens").mkdir()
    return tokens.run(spec, inputs, folder / "tokens")


def _unquantized(ground: Ground) -> Path:
    assert ground.model
    folder = ground.root / "unquantized"
    if not folder.is_dir():
        spec = JobSpec.model_validate({"model": {"id": "me/model"}, "training": None})
        export_stage.run(spec, export_stage.Inputs(model=ground.model, name="tiny"), folder)
    return folder / "tiny-f16.gguf"


@contextmanager
def _commands() -> Any:
    """Every command, which still runs."""
    given: list[str] = []
    run = process.run

    def noted(command: Any, **options: Any) -> str:
        given.append(" ".join([Path(command[0]).name, *map(str, command[1:])]))
        return run(command, **options)

    with mock.patch.object(process, "run", noted):
        yield given
