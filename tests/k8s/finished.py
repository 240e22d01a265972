"""What a finished run leaves in its store."""

import hashlib
from pathlib import Path

from job.run.records import Manifest, PublishedFile, StageRecord, write_manifest
from job.store import open_store

CONTENT = b"GGUF" + bytes(range(256)) * 4096


def finish(store: str, run: str, folder: Path, loss: float | None = 1.5, content: bytes = CONTENT) -> None:
    """As the job does: files, then the manifest."""
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
    record = StageRecord(stage="quantize", key="k", artifacts=[])
    train = StageRecord(stage="train", key="k", artifacts=[], metrics={} if loss is None else {"loss_after": loss})
    stages = {"train": train, "quantize/q4_k_m": record}
    manifest = Manifest(run=run, name="Tuned", spec={}, sources={}, stages=stages, files=files, places=["s3://b/out"])
    write_manifest(opened, manifest)
