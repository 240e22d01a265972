"""Whether weights fit float16, which ends at 65504: a model in bfloat16 or float32 may hold larger ones."""

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy

from job.errors import IntegrityViolated
from job.logs import Progress

LARGEST = 65504.0
_BLOCK = 1 << 24  # bytes read at a time
_KINDS = {"BF16": numpy.uint16, "F32": numpy.float32, "F64": numpy.float64}


class Beyond(NamedTuple):
    """A tensor and its largest value, by magnitude."""

    name: str
    value: float


def beyond_float16(files: list[Path], where: str) -> Beyond | None:
    """The first matrix with a value that float16 cannot hold; None if all fit. Vectors are always exported in float32.

    Raises IntegrityViolated for a matrix with NaN or infinite values.
    """
    total, done = sum(path.stat().st_size for path in files), 0
    bar = Progress("checking the weights' range", total, "bytes")
    for path in files:
        for name, kind, start, size in _matrices(path):
            value = _largest(path, kind, start, size)
            if not math.isfinite(value):
                raise IntegrityViolated(
                    f"{where}: {name} has NaN or infinite values", hint="The model is damaged: download it again."
                )
            if value > LARGEST:
                return Beyond(name, value)
            bar.update(done + start + size)
        done += path.stat().st_size
    return None


def _matrices(path: Path) -> Iterator[tuple[str, str, int, int]]:
    """Name, dtype, offset and size in bytes of each tensor of two dimensions or more whose dtype has a wider range."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    for name, tensor in header.items():
        if name != "__metadata__" and tensor["dtype"] in _KINDS and len(tensor["shape"]) > 1:
            start, end = tensor["data_offsets"]
            yield name, tensor["dtype"], 8 + length + start, end - start


def _largest(path: Path, kind: str, start: int, size: int) -> float:
    found = 0.0
    with path.open("rb") as file:
        file.seek(start)
        while size:
            block = numpy.frombuffer(file.read(min(_BLOCK, size)), _KINDS[kind])
            size -= block.nbytes
            if kind == "BF16":  # the upper half of a float32: without the sign, larger bits are a larger value
                bits = int((block & 0x7FFF).max())
                largest = struct.unpack("<f", struct.pack("<I", bits << 16))[0]
            else:
                largest = float(numpy.abs(block).max())
            found = largest if math.isnan(largest) else max(found, largest)
            if not math.isfinite(found):
                break
    return found
