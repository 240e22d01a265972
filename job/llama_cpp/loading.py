"""Whether llama.cpp can load a model, seen from a GGUF without weights."""

import re
from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.llama_cpp import offload

_REASON = re.compile(r"error loading model: (.+)|(GGML_ASSERT.*|[\w-]+\.\w+:\d+: fatal error)")


def write_hollow(writer: Any, path: Path) -> None:
    """Writes a GGUFWriter's header, metadata and names of tensors; instead of the tensors the file has a hole."""
    writer.write_header_to_file(path=path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    size = sum(info.nbytes + writer.data_alignment for shard in writer.tensors for info in shard.values())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)


def check_loads(gguf: Path, model: str) -> None:
    """Raises SpecInvalid if llama.cpp does not load the file, which may be hollow, with its reason; EnvironmentUnfit if
    this machine cannot try."""
    lines: list[str] = []
    questions = gguf.with_suffix(".json")
    questions.write_text("{}", encoding="utf-8")
    options: list[str | Path] = ["-m", gguf, "-bf", questions, "--no-escape", "-c", "16", "-t", "1", "--no-warmup"]
    try:  # on the CPU the weights stay in the file, and are not read before they are computed with
        offload.run("llama-examine", options, gguf=gguf, error=SpecInvalid, on_line=lines.append, uses_gpu=False)
    except SpecInvalid as error:
        found = next((match for line in lines if (match := _REASON.search(line))), None)
        reason = (found[1] or found[2]) if found else "it ends without a reason"
        raise SpecInvalid(
            f"model.id: llama.cpp cannot load what its converter makes of {model}: {reason}",
            hint="Its config.json has sizes that llama.cpp does not know of this family. Use another model of it.",
        ) from error
