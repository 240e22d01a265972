"""The export stage in the parent: keeps what is published beside the quantized files."""

from job.artifacts import digest_of
from job.llama_cpp.gguf import cache_bytes, read_metadata
from job.pipeline.state import State
from job.spec.naming import lora_name


def export_files(state: State) -> None:
    """Exports the files that are published beside the quantized ones (adapter GGUF, merged model), and keeps the
    record."""
    extra = {"adapter": state.spec.export.adapter, "merged": state.spec.export.merged}
    depends = state.known.exported() | extra
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
