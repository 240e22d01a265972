"""A rehearsal of a model in a folder, in a bucket or on the Hub."""

from pathlib import Path
from typing import Any

from job.fetch import sources
from job.rehearsal import stage as rehearsal
from job.spec import JobSpec

LORA = {"target_modules": ["q_proj", "v_proj"]}


def spec_of(model: str, **sections: Any) -> JobSpec:
    found = {"model": {"id": model} | sections.pop("more", {}), "dataset": {"id": "rows.jsonl"}, "lora": LORA}
    return JobSpec.model_validate(found | sections)


def rehearse(spec: JobSpec, workdir: Path) -> rehearsal.Result:
    workdir.mkdir(exist_ok=True)
    pinned = sources.Sources(model=sources._pin_model(spec.model.id, "main"))
    if spec.model.adapter:
        pinned = pinned.model_copy(update={"adapter": sources._pin_model(spec.model.adapter, "main", adapter=True)})
    return rehearsal.run(spec, rehearsal.Inputs(sources=pinned), workdir)
