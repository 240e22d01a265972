"""What a finished run leaves in its store."""

import hashlib
from pathlib import Path
from typing import Any

from job.run.records import Manifest, PublishedFile, StageRecord, write_manifest
from job.store import open_store

CONTENT = b"GGUF" + bytes(range(256)) * 4096


def finish(
    store: str, run: str, folder: Path, loss: float | None = 1.5, content: bytes = CONTENT, rows: str = "rows"
) -> None:
    """As the job does: files, then the manifest. `rows`: the digest of the held-out ones."""
    opened = open_store(store)
    folder.mkdir(exist_ok=True)
    files = []
    for name, kind in (("Tuned-Q4_K_M.gguf", "q4_k_m"), ("README.md", "document")):
        path = folder / name
        path.write_bytes(content)
        key = f"stages/quantize/{run}/{name}"
        opened.put_file(key, path)
        digest = hashlib.sha256(content).hexdigest()
        files.append(PublishedFile(name=name, key=key, type=kind, sha256=digest, size=len(content)))
    stages = {
        "tokens": record("tokens", size=1536, eval={"digest": rows} if loss is not None else None),
        "train": record("train", **({} if loss is None else {"loss_after": loss})),
        "quantize/q4_k_m": record("quantize", bits_per_weight=4.8),
    }
    manifest = Manifest(run=run, name="Tuned", spec={}, sources={}, stages=stages, files=files, places=["s3://b/out"])
    write_manifest(opened, manifest)


def record(stage: str, **metrics: Any) -> StageRecord:
    return StageRecord(stage=stage, key="k", artifacts=[], metrics=metrics)
