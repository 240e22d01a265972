"""Rehearses a run's model in a process of its own: loads it, puts an adapter on it and exports both, without weights.

<workdir>/model/, adapter/              the small files, as downloaded, with hollow weights
          model-view/, adapter-view/    links to what may be loaded of them
          trained/                      the hollow adapter that the training would make
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from job import architectures
from job.artifacts import Frozen
from job.errors import IntegrityViolated, SpecInvalid
from job.export.gguf_convert import rehearse_gguf
from job.export.merge_plan import Plan, Shapes
from job.export.model_view import make_view
from job.export.peft_adapter import PeftAdapter
from job.export.stage import planned
from job.fetch.model import bring
from job.fetch.sources import Sources
from job.fit.budget import BOUNDS, model_of, room
from job.llama_cpp.loading import check_loads
from job.predict.counted import Counted
from job.rehearsal.adapting import write_adapter
from job.rehearsal.hollow import write_hollow
from job.rehearsal.loading import check_quantized, check_tokens, check_trainer, load_hollow, text_parameters
from job.rehearsal.sizes import sizes_of_built
from job.spec import JobSpec

NAME = "rehearse"
CHECKS = 4
"""Raise this number when a rehearsal finds more than before: what an older one let pass is rehearsed again."""
WHOLE = 0.98
"""The share of a model's parameters that a file must have: converters leave out what a computer can work out."""


class Inputs(Frozen):
    """What the names are pinned to."""

    sources: Sources


class Result(Frozen):
    """What the unquantized file will contain. `changed`: the number of its tensors that the adapter changes; `sizes`:
    of a model of a family without formulas, if its class is known."""

    architecture: str
    tensors: int
    parameters: int
    changed: int
    sizes: Counted | None = None


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid and IntegrityViolated for what would end the run later."""
    shutil.rmtree(workdir / "trained", ignore_errors=True)
    brought = bring(spec, inputs.sources, workdir, write_hollow)
    change, parameters = PeftAdapter(brought.adapter) if brought.adapter else None, 0

    def plan(base: Shapes, config: dict[str, Any]) -> Plan:
        try:
            return planned(spec, change, base, config, brought.model)
        except IntegrityViolated as error:
            if brought.adapter:
                raise
            raise SpecInvalid(
                f"lora.target_modules: what they train of {spec.model.id} cannot be exported: {error.message}",
                hint="Name other layers: those of its attention are exported for most families.",
            ) from error

    config = json.loads((brought.model / "config.json").read_text(encoding="utf-8"))
    sizes = None
    if architectures.loads(config):
        model = load_hollow(brought.model, spec.model.id, spec.training.attention if spec.training else None)
        rows = model.get_input_embeddings().weight.shape[0]
        check_tokens(brought.model, max(rows, change.embedding_rows if change else 0), spec.model.id)
        parameters, sizes = text_parameters(model), sizes_of_built(model, config, spec.model.id)
        if spec.training and change is None:
            check_quantized(spec, model)
            check_trainer(spec, model)
            made = write_adapter(spec, model, workdir / "trained")
            change = PeftAdapter(made) if made else None
    with tempfile.TemporaryDirectory(dir=workdir, prefix="view-") as folder:
        view = make_view(Path(folder) / "model", brought.model, None, spec.chat.template)
        gguf = Path(folder) / "model.gguf"
        written = rehearse_gguf(view, gguf, spec.export.unquantized, plan)
        check_loads(gguf, spec.model.id)
        _check_budgets(spec, gguf)
    if written.parameters < WHOLE * parameters:
        raise SpecInvalid(
            f"model.id: llama.cpp's converter would write {written.parameters:,} of the {parameters:,} parameters of "
            f"{spec.model.id}",
            hint="It does not convert this architecture whole. Use another model of the family.",
        )
    if change and not written.changed:
        raise IntegrityViolated(f"the adapter changes nothing of {spec.model.id}", hint="Is it the one you meant?")
    return Result(
        architecture=written.architecture,
        tensors=written.tensors,
        parameters=written.parameters,
        changed=written.changed,
        sizes=sizes,
    )


def _check_budgets(spec: JobSpec, gguf: Path) -> None:
    """Raises SpecInvalid if no file fits a budget, or the unquantized one does."""
    if not spec.export.fits:
        return
    model = model_of(gguf, spec.export.unquantized, has_matrix=spec.export.imatrix != "none", kinds=BOUNDS)
    for fit in spec.export.fits:
        room(fit, model)
