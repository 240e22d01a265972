"""Writes the merged model as a Hugging Face folder, tensor by tensor.

    <folder>/  model.safetensors, or model-00001-of-0000N.safetensors … and model.safetensors.index.json
               config.json, generation_config.json, the tokenizer's files

A safetensors file is 8 bytes of length (little-endian), a JSON header of that length, then the tensors' bytes
(https://huggingface.co/docs/safetensors/index#format): shapes and dtypes are known before any tensor is merged.
"""

import json
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from job.artifacts import write_json, written_whole
from job.errors import IntegrityViolated
from job.export.merge import apply
from job.export.merge_plan import Plan, Shapes
from job.export.model_view import tokenizer_files
from job.logs import Progress

if TYPE_CHECKING:
    from torch import Tensor

SHARD_BYTES = 4_000_000_000

_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}

GENERATION = "generation_config.json"


class _Tensor(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    load: "Callable[[], Tensor]"

    @property
    def size(self) -> int:
        count = _ITEM_BYTES[self.dtype]
        for length in self.shape:
            count *= length
        return count


def write_merged(view: Path, target: Path, make_plan: Callable[[Shapes], Plan], eos: int | None = None) -> Path:
    """Merges the model in `view` into the folder `target`, in shards of at most SHARD_BYTES. `eos`: a token at which
    answers end now, besides those of the model's settings.

    Raises IntegrityViolated for broken weights, StorageFailed when the disk is full.
    """
    config = json.loads((view / "config.json").read_text(encoding="utf-8"))
    base = {tensor.name: tensor for tensor in _base_tensors(view)}
    plan = make_plan({name: tensor.shape for name, tensor in base.items()})
    tensors = [_planned(base, plan, name) for name in dict.fromkeys([*base, *plan.sources])]
    target.mkdir(parents=True, exist_ok=True)
    progress = Progress("export.merged", sum(tensor.size for tensor in tensors), "bytes")
    _write_shards(target, _sharded(tensors), progress)
    if plan.unties:
        config["tie_word_embeddings"] = False
    if plan.vocab_size:
        config["vocab_size"] = plan.vocab_size
    settings = view / GENERATION
    generation = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    if eos is not None:
        old = generation.get("eos_token_id", config.get("eos_token_id"))
        ends = [eos, *(old if isinstance(old, list) else [old])]
        generation["eos_token_id"] = list(dict.fromkeys(token for token in ends if token is not None))
        config["eos_token_id"] = eos
    write_json(target / "config.json", config)
    if generation:
        write_json(target / GENERATION, generation)
    for path in tokenizer_files(view):
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        copy(path, target / path.name)
    return target


def _base_tensors(view: Path) -> Iterable[_Tensor]:
    from safetensors import SafetensorError, safe_open

    for path in sorted(view.glob("model*.safetensors")):
        try:
            file: Any = safe_open(path, "pt")
        except SafetensorError as error:
            raise IntegrityViolated(f"{path.resolve()} is broken: {error}", hint="Download it again.") from error
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            yield _Tensor(name, part.get_dtype(), tuple(part.get_shape()), partial(file.get_tensor, name))


def _planned(base: dict[str, _Tensor], plan: Plan, name: str) -> _Tensor:
    tensor = base[plan.sources.get(name, name)]
    if name not in plan.changes:
        return tensor
    return _Tensor(name, tensor.dtype, plan.shapes[name], lambda: apply(name, tensor.load(), plan.changes[name]))


def _sharded(tensors: list[_Tensor]) -> list[list[_Tensor]]:
    shards: list[list[_Tensor]] = [[]]
    room = SHARD_BYTES
    for tensor in tensors:
        if shards[-1] and tensor.size > room:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append(tensor)
        room -= tensor.size
    return shards


def _write_shards(target: Path, shards: list[list[_Tensor]], progress: Progress) -> None:
    weight_map: dict[str, str] = {}
    done = 0
    for number, shard in enumerate(shards, 1):
        name = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        with written_whole(target / name) as temporary, temporary.open("wb") as file:
            file.write(_header(shard))
            for tensor in shard:
                file.write(_bytes_of(tensor.load()))
                done += tensor.size
                progress.update(done)
                weight_map[tensor.name] = name
    if len(shards) > 1:
        index = {"metadata": {"total_size": done}, "weight_map": dict(sorted(weight_map.items()))}
        write_json(target / "model.safetensors.index.json", index)


def _header(shard: list[_Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in shard:
        end = start + tensor.size
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes_of(tensor: "Tensor") -> memoryview:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
