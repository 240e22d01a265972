"""Writes a GGUF with the bundled llama.cpp's own converter, each tensor changed on its way through.

The converter indexes the base's tensors by name and reads them lazily. A subclass of its model class
makes this index return merged tensors; all else (names, permutations, dtypes, vocabulary, metadata) is done by the
converter. Tensors are computed, written and dropped one by one: peak memory depends on the largest tensor alone.
"""

import contextlib
import difflib
import importlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.artifacts import written_whole
from job.chat.portable import portable_template
from job.errors import IntegrityViolated, JobError, SpecInvalid
from job.export.gguf_stream import streamed
from job.export.merge import apply
from job.export.merge_plan import Plan, Shapes
from job.export.published_config import as_published
from job.llama_cpp import bundle
from job.llama_cpp.loading import write_hollow

MakePlan = Callable[[Shapes, dict[str, Any]], Plan]
"""A function from the shapes of the base's tensors and its config to the plan."""

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
    with written_whole(target) as temporary, _translated(view), streamed(model.gguf_writer.tensors[-1]):
        _write(model.gguf_writer, temporary)
    return written


def rehearse_gguf(view: Path, target: Path, dtype: str, make_plan: MakePlan) -> Written:
    """All that `write_gguf` does but reading tensors: the weights in `view` may be hollow, and `target` is. Raises
    SpecInvalid for whatever stops the converter."""
    try:
        model, written = _converted(view, target, dtype, target.stem, make_plan)
    except (RuntimeError, LookupError, AttributeError, ArithmeticError) as error:
        raise _not_converted(error) from error
    write_hollow(model.gguf_writer, target)
    return written


def _converted(
    view: Path, target: Path, dtype: str, name: str, make_plan: MakePlan, keep: Callable[[str], bool] | None = None
) -> tuple[Any, Written]:
    """The converter's model, ready to be written to `target`, and what it will contain."""
    import torch

    converter = _converter()
    with torch.inference_mode(), _sentencepiece_named(view), _translated(view):
        config = converter.ModelBase.load_hparams(view, False)
        architecture = converter.get_model_architecture(config, converter.ModelType.TEXT)
        config = as_published(architecture, config)
        model_class = _model_class(converter, architecture)
        without = {} if _predicts_ahead(view, config) else {"no_mtp": True}
        plans: list[Plan] = []
        file_type = getattr(importlib.import_module("gguf").LlamaFileType, _FILE_TYPES[dtype])

        def made(of: Any) -> Any:
            merged_in = torch.float32 if dtype == "f32" else None
            merging = _derived(of, converter.LazyTorchTensor, make_plan, config, plans, keep, merged_in, without)
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


def _derived(
    model_class: Any,
    lazy: Any,
    make_plan: MakePlan,
    config: dict[str, Any],
    plans: list[Plan],
    keep: Callable[[str], bool] | None,
    merged_in: Any,
    fields: dict[str, Any],
) -> Any:
    """A subclass of the model class with these `fields`, whose index returns merged tensors, in the dtype `merged_in`
    if it is one."""

    def index_tensors(self: Any, remote_hf_model_id: str | None = None) -> dict[str, Callable[[], Any]]:
        index: dict[str, Callable[[], Any]] = model_class.index_tensors(self, remote_hf_model_id)
        index = {name: load for name, load in index.items() if keep is None or keep(name)}
        _check_files(self.dir_model)
        plan = make_plan({name: tuple(load().shape) for name, load in index.items()}, config)
        plans.append(plan)
        _adjust(self.hparams, plan)
        return merged_index(index, plan, lazy, merged_in)

    namespace = {"model_arch": model_class.model_arch, "index_tensors": index_tensors, **fields}
    merging = type(model_class.__name__, (model_class,), namespace)
    return merging


def _predicts_ahead(view: Path, config: dict[str, Any]) -> bool:
    """Whether the files have layers after the model's last, which predict further tokens: transformers leaves them out
    when it saves a model, and the converter expects them of some families."""
    from gguf.utility import SafetensorsLocal

    layers = (config.get("text_config") or config).get("num_hidden_layers", math.inf)
    names = [name.split(".") for path in view.glob("*.safetensors") for name in SafetensorsLocal(path).tensors]
    return any("mtp" in parts or (parts[:2] == ["model", "layers"] and int(parts[2]) >= layers) for parts in names)


def _adjust(config: dict[str, Any], plan: Plan) -> None:
    for section in (config, config.get("text_config")):
        if isinstance(section, dict):
            if plan.unties:
                section["tie_word_embeddings"] = False
            if plan.vocab_size and "vocab_size" in section:
                section["vocab_size"] = plan.vocab_size


def merged_index(
    index: dict[str, Callable[[], Any]], plan: Plan, lazy: Any, dtype: Any = None
) -> dict[str, Callable[[], Any]]:
    """The index with each changed tensor lazily merged, in `dtype` or in its own, and the new tensors last."""

    def merged(name: str) -> Any:
        base = index[plan.sources.get(name, name)]()
        meta = lazy.meta_with_dtype_and_shape(dtype or base.dtype, plan.shapes[name])
        return lazy(meta=meta, args=(base,), func=lambda weight: apply(name, weight, plan.changes[name], dtype))

    return index | {name: (lambda name=name: merged(name)) for name in plan.changes}


def _check_files(folder: Path) -> None:
    """Raises IntegrityViolated for a shard shorter than its header says: reading it would kill the process."""
    from gguf.utility import SafetensorsLocal

    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        for name, tensor in SafetensorsLocal(path).tensors.items():
            if tensor.data_range.offset + tensor.data_range.size > size:
                raise IntegrityViolated(f"{path.resolve()} is cut off: {name} is incomplete", hint="Download it again.")


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


@contextlib.contextmanager
def _sentencepiece_named(view: Path) -> Iterator[None]:
    """Says what is wrong if a SentencePiece tokenizer is there as tokenizer.json alone: the converter, which reads
    tokenizer.model for some families, takes it for a BPE tokenizer of no known family."""
    try:
        yield
    except SpecInvalid as error:
        if (view / "tokenizer.model").exists() or not _falls_back_to_bytes(view / "tokenizer.json"):
            raise
        raise SpecInvalid(
            "model.id: the model has a SentencePiece tokenizer as tokenizer.json alone, and the converter of llama.cpp "
            "needs its tokenizer.model",
            hint="Put the tokenizer.model of its base model beside it.",
        ) from error


def _falls_back_to_bytes(path: Path) -> bool:
    """Whether a tokenizer.json was made from SentencePiece: its model says so."""
    if not path.exists():
        return False
    model = json.loads(path.read_text(encoding="utf-8")).get("model") or {}
    return bool(model.get("byte_fallback"))


@contextlib.contextmanager
def _translated(view: Path) -> Iterator[None]:
    """Translates the converter's errors into the job's."""
    try:
        yield
    except JobError:
        raise
    except RuntimeError as error:
        if not type(error).__name__.startswith("NotImplemented"):  # raised for what the converter does not support
            raise
        if "pre-tokenizer" in str(error):
            raise SpecInvalid(
                "model.id: llama.cpp's converter does not know this BPE tokenizer (it knows them by a hash)",
                hint="Use a model with the tokenizer of a known family, unchanged except for added tokens.",
            ) from error
        raise SpecInvalid(f"model.id: llama.cpp's converter cannot convert this model: {error}") from error
    except FileNotFoundError as error:
        missing = Path(error.filename or str(error)).name
        if missing.endswith(".safetensors"):
            raise IntegrityViolated(
                f"the model's files are incomplete: no {missing}", hint="Download it again."
            ) from error
        raise SpecInvalid(f"model.id: the model has no {missing}") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        if "Missing or incomplete model files" in str(error) or "safetensors" in str(error):
            raise IntegrityViolated(
                f"the model's files are incomplete: {error}", hint="Download them again."
            ) from error
        raise _not_converted(error) from error


def _not_converted(error: Exception) -> SpecInvalid:
    return SpecInvalid(
        f"model.id: llama.cpp's converter cannot convert this model: {type(error).__name__}: {error}",
        hint="Check that its config, tokenizer and weights belong together, as in the published model.",
    )
