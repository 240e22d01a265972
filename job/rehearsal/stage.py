"""Rehearses a run's model in a process of its own: loads it, puts an adapter on it and exports both, without weights.

<workdir>/model/, adapter/              the small files, as downloaded, with hollow weights
          model-view/, adapter-view/    links to what may be loaded of them
          trained/                      the hollow adapter that the training would make
"""

import json
import shutil
import tempfile
from pathlib import Path

from job import architectures
from job.artifacts import Frozen
from job.errors import IntegrityViolated
from job.export.gguf_convert import rehearse_gguf
from job.export.model_view import make_view
from job.export.peft_adapter import PeftAdapter
from job.export.stage import planned
from job.fetch.model import bring
from job.fetch.sources import Sources
from job.rehearsal.adapting import write_adapter
from job.rehearsal.hollow import write_hollow
from job.rehearsal.loading import check_tokens, load_hollow
from job.spec import JobSpec

NAME = "rehearse"


class Inputs(Frozen):
    """What the names are pinned to."""

    sources: Sources


class Result(Frozen):
    """What the unquantized file will contain. `changed`: the number of its tensors that the adapter changes."""

    architecture: str
    tensors: int
    parameters: int
    changed: int


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid and IntegrityViolated for what would end the run later."""
    shutil.rmtree(workdir / "trained", ignore_errors=True)
    brought = bring(spec, inputs.sources, workdir, write_hollow)
    change = PeftAdapter(brought.adapter) if brought.adapter else None
    if architectures.loads(json.loads((brought.model / "config.json").read_text(encoding="utf-8"))):
        model = load_hollow(brought.model, spec.model.id)
        rows = model.get_input_embeddings().weight.shape[0]
        check_tokens(brought.model, max(rows, change.embedding_rows if change else 0), spec.model.id)
        if spec.training and change is None:
            change = PeftAdapter(write_adapter(spec, model, workdir / "trained"))
    with tempfile.TemporaryDirectory(dir=workdir, prefix="view-") as folder:
        view = make_view(Path(folder) / "model", brought.model, None, spec.chat.template)
        written = rehearse_gguf(
            view, spec.export.unquantized, "model", lambda base, config: planned(spec, change, base, config)
        )
    if change and not written.changed:
        raise IntegrityViolated(f"the adapter changes nothing of {spec.model.id}")
    return Result(
        architecture=written.architecture,
        tensors=written.tensors,
        parameters=written.parameters,
        changed=written.changed,
    )
