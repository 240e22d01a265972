"""The model as a GGUF, by the job's export stage."""

from pathlib import Path

from bench.gpu.model import folder_of
from bench.gpu.record import Bench
from job.export import stage as export_stage
from job.spec import JobSpec


def gguf_of(bench: Bench, model: str) -> Path:
    return bench.work / "gguf" / f"{model}-{spec_of(bench, model).export.unquantized}.gguf"


def spec_of(bench: Bench, model: str) -> JobSpec:
    """A run that only quantizes; the defaults decide what it judges on."""
    tiny = {"evaluation": {"context": 64, "max_tokens": 1024, "threads": [1, 2], "max_new_tokens": 4}}
    folder = str(folder_of(bench, model))
    return JobSpec.model_validate(
        {"model": {"id": folder}, "dataset": {"id": "./rows.jsonl"}, "training": None} | (tiny if bench.tiny else {})
    )


def run(bench: Bench, model: str) -> None:
    with bench.case("export") as fields:
        gguf = gguf_of(bench, model)
        fields["model"] = model
        fields["is_new"] = not gguf.is_file()
        if fields["is_new"]:
            inputs = export_stage.Inputs(model=folder_of(bench, model), name=model)
            export_stage.run(spec_of(bench, model), inputs, gguf.parent)
        fields["bytes"] = gguf.stat().st_size
