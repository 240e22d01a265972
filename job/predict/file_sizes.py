"""Asks llama-quantize for the size of each type, with a GGUF that has a header but a hole instead of the weights."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from job.artifacts import Frozen
from job.errors import Bug, JobError
from job.llama_cpp import bundle
from job.predict.anatomy import Anatomy
from job.spec.quants import NEEDS_IMATRIX

_ARCHITECTURES = {"mistral": "llama", "gemma3_text": "gemma3"}

GGUF_NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "qkv_proj": "attn_qkv",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "gate_up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
"""llama.cpp's names of the linear layers."""


class Planned(Frozen):
    """A type's file: the bytes of its tensors, bits per weight, and for each kind of tensor how many get which type."""

    size: int
    bits: float
    tensors: dict[str, dict[str, int]]


def planned_here(model: Anatomy, kinds: list[str]) -> dict[str, Planned]:
    """`planned` in a temporary folder; empty if llama.cpp is not built, or its names of the tensors are not known."""
    if model.how or not bundle.is_built():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        return planned(model, kinds, Path(folder))


def planned(model: Anatomy, kinds: list[str], folder: Path) -> dict[str, Planned]:
    """The file of each type. `folder` holds the GGUFs without weights while llama-quantize reads them."""
    hollow = _hollow(folder / "model.gguf", model)
    matrix = _hollow_imatrix(folder / "imatrix.gguf") if NEEDS_IMATRIX.intersection(kinds) else None
    return {kind: _asked(hollow, kind, matrix if kind in NEEDS_IMATRIX else None) for kind in kinds}


def _hollow(path: Path, model: Anatomy) -> Path:
    import numpy

    architecture = _ARCHITECTURES.get(model.model_type, model.model_type)
    writer = _gguf().GGUFWriter(path, architecture)
    writer.add_block_count(model.layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(model.width)
    writer.add_feed_forward_length(model.feed_forward)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head)
    writer.add_value_length(model.head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_sliding_window(512)
    total = 0
    for name, shape in _tensors(model).items():
        dtype = numpy.dtype("float16" if len(shape) == 2 else "float32")
        size = int(numpy.prod(shape)) * dtype.itemsize
        writer.add_tensor_info(name, shape, dtype, size)
        total += size + 32  # tensors are aligned
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + total)
    return path


def _tensors(model: Anatomy) -> dict[str, tuple[int, ...]]:
    """llama.cpp's name and the shape of each tensor, rows first. All that is neither a linear layer nor an embedding
    stays in float32, so one vector stands for a block's norms and biases."""
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (model.vocabulary, model.width)}
    for number in range(model.layers):
        found |= {f"blk.{number}.{GGUF_NAMES[name]}.weight": shape for name, shape in model.linear.items()}
        found[f"blk.{number}.attn_norm.weight"] = ((model.small_parameters - model.width) // model.layers,)
    found["output_norm.weight"] = (model.width,)
    return found if model.tied else found | {"output.weight": (model.vocabulary, model.width)}


def _gguf() -> Any:
    """The gguf package of the bundled llama.cpp."""
    if (package := str(bundle.converter_path() / "gguf-py")) not in sys.path:
        sys.path.insert(0, package)
    import gguf

    return gguf


def _hollow_imatrix(path: Path) -> Path:
    """An importance matrix of one tensor: having a matrix changes the types that llama-quantize chooses."""
    import numpy

    writer = _gguf().GGUFWriter(path, arch="")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["none"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for part in ("in_sum2", "counts"):
        writer.add_tensor(f"output.weight.{part}", numpy.ones((1, 4096 if part == "in_sum2" else 1), numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _asked(model: Path, kind: str, matrix: Path | None) -> Planned:
    from job.llama_cpp.quantizer import dry_run

    try:
        found = dry_run(model, kind, matrix)
    except JobError as error:  # an error about this file is not the user's fault
        raise Bug(f"llama-quantize did not report the size of {kind}: {error.message[-300:]}") from error
    return Planned(size=found.after, bits=found.bits_per_weight, tensors=found.tensors)
