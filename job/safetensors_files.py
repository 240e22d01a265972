"""Which files hold a model's weights, and what their headers say of the tensors in them.

transformers loads model.safetensors, else what its index names (transformers/modeling_utils.py,
`_get_resolved_checkpoint_files`). Format: https://huggingface.co/docs/safetensors/index#format
"""

import json
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import NamedTuple

from job.artifacts import check_name, json_object
from job.errors import DataInvalid, IntegrityViolated

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEADER_LIMIT = 16_000_000  # bytes: 100,000 tensors; the library's own limit, 100 MB, is a GB once parsed
_GUESS = 100_000
"""Bytes that hold most headers: one request for each file."""
WORKERS = 8
_BITS = {"F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16}
"""Of a dtype's name; all others have 8 or fewer."""


class Tensor(NamedTuple):
    """A tensor by its header. `dtype`: BF16, F32, …"""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.elements * _BITS.get(self.dtype, 8) // 8


def shards_of(index: str, where: str) -> list[str]:
    """The files that an index names: a loader opens every one. Raises DataInvalid and IntegrityViolated."""
    files = json_object(index, f"{where}: {INDEX}").get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(shard, str) for shard in files.values()):
        raise DataInvalid(f"{where}: {INDEX} has no weight_map that names a file for each tensor")
    for shard in set(files.values()):
        if "/" in shard or shard != check_name(shard):
            raise IntegrityViolated(f"{where}: {INDEX} names {shard!r}, which is not a file beside it")
    return sorted(set(files.values()))


def header_of(start_of: Callable[[int], bytes], where: str) -> bytes:
    """The beginning of a file: its header, with its length before it; less if the file is cut off. `start_of` reads so
    many bytes of it."""
    start = start_of(_GUESS)
    if len(start) < 8:
        raise IntegrityViolated(f"{where} is cut off")
    length = 8 + struct.unpack("<Q", start[:8])[0]
    if length <= len(start) or length > 8 + HEADER_LIMIT or len(start) < _GUESS:
        return start[:length]
    return start_of(length)


def tensors_of(header: bytes, where: str) -> dict[str, Tensor]:
    """What a header lists, by name. Raises IntegrityViolated for one that is damaged."""
    try:
        listed = {name: one for name, one in json.loads(header[8:]).items() if name != "__metadata__"}
        found = {name: Tensor(str(one["dtype"]), tuple(map(int, one["shape"]))) for name, one in listed.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IntegrityViolated(f"{where}: its header is damaged") from error
    if any(length < 0 or length >= 1 << 48 for one in found.values() for length in one.shape):
        raise IntegrityViolated(f"{where}: its header is damaged: a tensor's length is out of range")
    return found


def listed(names: list[str], start_of: Callable[[str, int], bytes], where: str) -> dict[str, Tensor]:
    """The tensors of weight files. `start_of` reads the first bytes of one. Raises IntegrityViolated."""

    def one(name: str) -> dict[str, Tensor]:
        what = f"{where}: {name}"
        return tensors_of(header_of(lambda count: start_of(name, count), what), what)

    with ThreadPoolExecutor(WORKERS) as pool:
        return {key: tensor for found in pool.map(one, names) for key, tensor in found.items()}
