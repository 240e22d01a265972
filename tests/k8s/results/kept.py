"""Runs as stores hold them, with figures of every kind."""

from pathlib import Path
from typing import Any

from job.artifacts import Artifact
from job.run.records import Manifest, PublishedFile, StageRecord, write_manifest
from job.store import open_store
from tests.job.report.facts import facts, spec


def keep(
    folder: Path,
    run: str,
    *,
    name: str = "Tuned",
    rows: str = "rows",
    text: str = "",
    size: int = 1536,
    chunks: int = 9,
    device: str = "a CPU",
    records: dict[str, StageRecord | None] | None = None,
    spec_fields: dict[str, Any] | None = None,
    **sections: Any,
) -> None:
    """A finished run. `rows`: which were held out; `size`: of the vocabulary; `chunks`: windows of the judging;
    `records`: instead of those of the run, or None to leave one out."""
    found = facts(spec(**sections))
    held = dict(found.records)
    tokens = held["tokens"]
    sha256 = {"ids.txt": f"{rows} as ids", "ends.txt": f"ends of {rows}"} | ({"text-ids.txt": text} if text else {})
    held["tokens"] = tokens.model_copy(
        update={
            "artifacts": [Artifact(path=path, sha256=words, size=1) for path, words in sha256.items()],
            "metrics": tokens.metrics | {"size": size, "eval": {"digest": rows, "rows": 4}},
        }
    )
    for stage, one in found.records.items():
        if stage.startswith("evaluate/"):
            speeds = [speed | {"device": device} for speed in one.metrics["speeds"]]
            more: dict[str, Any] = {"speeds": speeds, "chunks": chunks}
            if text:
                more["text"] = {"context": 512, "chunks": 3, "perplexity": {"value": 9.0, "error": 0.1}}
            held[stage] = one.model_copy(update={"metrics": one.metrics | more})
    held["train"].metrics["trace"] |= {"chunks": chunks}
    stages = {stage: one for stage, one in (held | (records or {})).items() if one}
    files = [
        PublishedFile(name=file, key=f"stages/quantize/{kind}/{file}", type=kind, sha256=item.sha256, size=item.size)
        for file, kind, item in found.files
    ]
    manifest = Manifest(
        run=run,
        name=name,
        spec=found.spec.shown() | (spec_fields or {}),
        sources={"model": "1f" * 20},
        stages=stages,
        files=files,
        places=[],
        versions={"torch": "2.15.0"},
    )
    write_manifest(open_store(str(folder)), manifest)
