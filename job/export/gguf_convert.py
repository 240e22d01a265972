"""Writes a GGUF with the bundled llama.cpp's own converter, each tensor changed on its way through (merging_class.py).

Names, permutations, dtypes, vocabulary and metadata are the converter's. Tensors are computed, written and dropped one
by one: peak memory depends on the largest tensor alone.
"""

import contextlib
import difflib
import importlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.artifacts import written_whole
from job.chat.portable import portable_template
from job.errors import SpecInvalid
from job.export.converter_errors import not_converted, sentencepiece_named, translated
from job.export.gguf_stream import streamed
from job.export.merge_plan import Plan
from job.export.merging_class import MakePlan, merging_class, predicts_ahead
from job.export.published_config import as_published
from job.llama_cpp import bundle
from job.llama_cpp.loading import write_hollow

_COMMON = ("Llama", "Mistral", "Mixtral", "Qwen2", "Qwen3", "Gemma", "Phi3", "Olmo", "Granite", "Falcon")
EOT = "tokenizer.ggml.eot_token_id"
_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}


@dataclass(frozen=True)
class Written:
    """The contents of the GGUF."""

    architecture: str
    tensors: int
    parameters: int
    changed: int


def _converter() -> Any:
    folder = str(bundle.converter_path())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module("conversion")


def write_gguf(
    view: Path,
    target: Path,
    dtype: str,
    name: str,
    make_plan: MakePlan,
    turn_end: int | None = None,
    keep: Callable[[str], bool] | None = None,
) -> Written:
    """Converts the model in the folder `view` to the file `target`; `name` becomes its general.name. `turn_end`: a
    token at which llama.cpp is to end an answer too; it knows some by their text. `keep`: which tensors of the files
    are the model's; all, if it is not given.

    Raises SpecInvalid for an architecture or a tokenizer that the converter does not know, IntegrityViolated for
    weights that are broken, StorageFailed when the disk is full.
    """
    model, written = _converted(view, target, dtype, name, make_plan, keep)
    if turn_end is not None and EOT not in model.gguf_writer.kv_data[0]:
        model.gguf_writer.add_eot_token_id(turn_end)
    with written_whole(target) as temporary, translated(view), streamed(model.gguf_writer.tensors[-1]):
        _write(model.gguf_writer, temporary)
    return written


def rehearse_gguf(view: Path, target: Path, dtype: str, make_plan: MakePlan) -> Written:
    """All that `write_gguf` does but reading tensors: the weights in `view` may be hollow, and `target` is. Raises
    SpecInvalid for whatever stops the converter."""
    try:
        model, written = _converted(view, target, dtype, target.stem, make_plan)
    except (RuntimeError, LookupError, AttributeError, ArithmeticError) as error:
        raise not_converted(error) from error
    write_hollow(model.gguf_writer, target)
    return written


def _converted(
    view: Path, target: Path, dtype: str, name: str, make_plan: MakePlan, keep: Callable[[str], bool] | None = None
) -> tuple[Any, Written]:
    """The converter's model, ready to be written to `target`, and what it will contain."""
    import torch

    converter = _converter()
    with torch.inference_mode(), sentencepiece_named(view), translated(view):
        config = converter.ModelBase.load_hparams(view, False)
        architecture = converter.get_model_architecture(config, converter.ModelType.TEXT)
        config = as_published(architecture, config)
        model_class = _model_class(converter, architecture)
        without = {} if predicts_ahead(view, config) else {"no_mtp": True}
        plans: list[Plan] = []
        file_type = getattr(importlib.import_module("gguf").LlamaFileType, _FILE_TYPES[dtype])

        def made(of: Any) -> Any:
            merging = merging_class(of, converter.LazyTorchTensor, make_plan, config, plans, keep, without)
            return merging(view, file_type, target, model_name=name, hparams=config)

        model = made(model_class)
        if delegate := getattr(model, "impl", None):  # Mistral 3's class lets another one do everything
            model = made(type(delegate))
        _prepare(model)
        tensors: dict[str, Any] = model.gguf_writer.tensors[-1]
        parameters = sum(math.prod(info.shape) for info in tensors.values())
    return model, Written(architecture, len(tensors), parameters, len(plans[-1].changes) if plans else 0)


def _model_class(converter: Any, architecture: str) -> Any:
    if architecture not in converter.TEXT_MODEL_MAP:
        known = sorted(converter.TEXT_MODEL_MAP)
        near = difflib.get_close_matches(architecture, known, n=3)
        common = [name for name in known if name.startswith(_COMMON) and name.endswith("ForCausalLM")]
        raise SpecInvalid(
            f"model.id: llama.cpp's converter does not know the architecture {architecture}",
            hint=f"It knows {len(known)}, among them {', '.join(dict.fromkeys([*near, *common]))}.",
        )
    return converter.get_model_class(architecture)


def _prepare(model: Any) -> None:
    """Runs the converter's steps before writing: tensors by name and dtype, then metadata and vocabulary."""
    model.prepare_tensors()
    model.prepare_metadata(vocab_only=False)
    for key, field in model.gguf_writer.kv_data[0].items():
        if key.startswith("tokenizer.chat_template") and isinstance(field.value, str):
            field.value = portable_template(field.value)


def _write(writer: Any, path: Path) -> None:
    try:
        writer.write_header_to_file(path=path)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            writer.close()
        raise
