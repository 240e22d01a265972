"""Merges base and adapter directly into one GGUF, tensor by tensor; on request writes the adapter as GGUF, and merged
safetensors.

<workdir>/<name>-<dtype>.gguf     the file that the quantized ones are made from
          <name>-lora.gguf        export.adapter
          merged/                 export.merged
          view-…/<name>/          links to the base and its tokenizer; removed when the stage ends
"""

import ctypes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.errors import SpecInvalid
from job.export.adapter_gguf import check_representable, write_adapter_gguf
from job.export.file_names import renamed
from job.export.gguf_convert import write_gguf
from job.export.merge import Requantized
from job.export.merge_plan import EMPTY, Plan, Shapes, plan
from job.export.merged_folder import write_merged
from job.export.model_view import make_view
from job.export.peft_adapter import PeftAdapter
from job.export.tying import are_apart, says_tied
from job.llama_cpp.gguf import read_metadata
from job.spec import JobSpec

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h

NAME = "export"


class Inputs(Frozen):
    """Folders in Hugging Face's format. `tokenizer` holds files that override the model's own."""

    model: Path
    adapter: Path | None = None
    tokenizer: Path | None = None
    name: str
    """The model's published name; also the GGUF's general.name."""
    turn_end: int | None = None
    """The token that ends an answer in the chat template, if it is not EOS."""


class Result(Frozen):
    """The files, and counts about the GGUF."""

    gguf: Path
    adapter_gguf: Path | None
    merged: Path | None
    architecture: str
    tensors: int
    parameters: int
    changed: int
    """Number of tensors that the adapter changed."""
    size: int
    """Bytes of the GGUF."""


def run(spec: JobSpec, inputs: Inputs, workdir: Path) -> Result:
    """Raises SpecInvalid, IntegrityViolated, QualityRejected (NaN in the adapter) and StorageFailed."""
    adapter = PeftAdapter(inputs.adapter) if inputs.adapter else None
    wants_lora = spec.export.adapter and adapter is not None
    if wants_lora and adapter:
        check_representable(adapter)
    workdir.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {}

    def plan_gguf(base: Shapes, found: dict[str, Any]) -> Plan:
        config.update(found)
        return planned(spec, adapter, base, found, view)

    def plan_folder(base: Shapes) -> Plan:
        return planned(spec, adapter, base, config, view)

    gguf = workdir / f"{inputs.name}-{spec.export.unquantized}.gguf"
    _reuse_buffers()
    with _one_thread(), tempfile.TemporaryDirectory(dir=workdir, prefix="view-") as folder:
        view = make_view(Path(folder) / inputs.name, inputs.model, inputs.tokenizer, spec.chat.template)
        written = write_gguf(view, gguf, spec.export.unquantized, inputs.name, plan_gguf, inputs.turn_end)
        lora = None
        if wants_lora and adapter:
            lora = write_adapter_gguf(adapter, view, workdir / f"{inputs.name}-lora.gguf", tied=says_tied(config))
        eos = read_metadata(gguf).get("tokenizer.ggml.eos_token_id") if inputs.tokenizer else None
        merged = write_merged(view, workdir / "merged", plan_folder, eos) if spec.export.merged else None
    return Result(
        gguf=gguf,
        adapter_gguf=lora,
        merged=merged,
        architecture=written.architecture,
        tensors=written.tensors,
        parameters=written.parameters,
        changed=written.changed,
        size=gguf.stat().st_size,
    )


def planned(spec: JobSpec, adapter: PeftAdapter | None, base: Shapes, config: dict[str, Any], view: Path) -> Plan:
    """The plan for a base with this config, whose files are in `view`."""
    if adapter is None:
        return EMPTY
    _check_unquantized(config)
    names = renamed(base, config)
    tied = says_tied(config)
    apart = tied and are_apart(view)
    return plan(adapter, base, tied=tied, apart=apart, names=names, requantized=_requantized(spec))


def _reuse_buffers() -> None:
    """Makes glibc keep and reuse freed buffers of up to 32 MB, its limit (mallopt(3)).

    By default each is returned to the system, which then clears its pages for the next tensor: a third of the time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 256 << 20), (M_ARENA_MAX, 1)):
            libc.mallopt(option, value)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limits torch to one thread. With blocks of 2 MB a second thread gains nothing, and if the CPUs are busy or fewer
    than torch assumes (a container's limit), waiting for it made the export several times slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _requantized(spec: JobSpec) -> Requantized | None:
    load = spec.load
    if spec.export.merge_base == "original" or load.bits not in (4, 8):
        return None
    return Requantized(4 if load.bits == 4 else 8, load.quant_type, load.double_quant)


def _check_unquantized(config: dict[str, Any]) -> None:
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method:
        raise SpecInvalid(
            f"model.id: the model's weights are already quantized ({method}); an adapter cannot be merged into them",
            hint="Set model.id to the unquantized model that it was made from.",
        )
