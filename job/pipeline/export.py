"""The export stage in the parent: keeps what is published beside the quantized files."""

from typing import Any

from job.artifacts import digest_of
from job.llama_cpp.gguf import cache_bytes, read_metadata
from job.pipeline.known import Known
from job.pipeline.state import State
from job.spec.naming import lora_name


def depends_on(known: Known) -> dict[str, Any]:
    """Everything that the published files depend on: what the unquantized GGUF does, and which are wanted."""
    export = known.spec.export
    return {"exported": known.exported(), "wanted": {"adapter": export.adapter, "merged": export.merged}}


def export_files(state: State) -> None:
    """Exports the files that are published beside the quantized ones (adapter GGUF, merged model), and keeps the
    record."""
    depends = depends_on(state.known)
    key = digest_of(depends)
    record = state.run.record("export", key)
    if record is None:
        gguf = state.files.gguf
        folder = gguf.parent
        found = [path for path in (folder / lora_name(state.spec), *folder.glob("merged/**/*")) if path.is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in found)
        metrics = {"size": gguf.stat().st_size, "cache_bytes_per_token": cache_bytes(read_metadata(gguf))}
        record = state.run.keep("export", key, folder, names, metrics, depends)
    state.known.records["export"] = record
