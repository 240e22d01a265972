"""Whether llama.cpp can load a model, seen from a GGUF without weights."""

import os
import re
from pathlib import Path
from typing import Any

from job.errors import SpecInvalid
from job.llama_cpp import bundle, process

_REASON = re.compile(r"error loading model: (.+)|(GGML_ASSERT.*)")
_MAPPED = {"CUDA_VISIBLE_DEVICES": "", "GGML_NO_BACKTRACE": "1"}
"""On the CPU the weights stay in the file, and are not read before they are computed with."""


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
    """Raises SpecInvalid if llama.cpp does not load the file, which may be hollow, with its reason."""
    lines: list[str] = []
    text = gguf.with_suffix(".txt")
    text.write_text("a", encoding="utf-8")  # too short: the program ends when it has loaded the model
    command: list[str | Path] = [
        bundle.program("llama-perplexity"),
        "-m",
        gguf,
        "-f",
        text,
        "-c",
        "16",
        "-b",
        "16",
        "-t",
        "1",
    ]
    try:
        process.run([*command, "--no-warmup"], on_line=lines.append, env=os.environ | _MAPPED, error=SpecInvalid)
    except SpecInvalid as error:
        found = next((match for line in lines if (match := _REASON.search(line))), None)
        if found is None:
            raise
        raise SpecInvalid(
            f"model.id: llama.cpp cannot load what its converter makes of {model}: {found[1] or found[2]}",
            hint="Its config.json has sizes that llama.cpp does not know of this family. Use another model of it.",
        ) from error
