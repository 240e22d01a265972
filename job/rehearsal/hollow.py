"""Weight files that look complete to every loader and take next to no disk space: their headers over a hole (a sparse
file)."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

from job.errors import IntegrityViolated
from job.fetch.listing import Listing
from job.fetch.safety import check_safetensors
from job.logs import log
from job.safetensors_files import header_of


def write_hollow(found: Listing, names: list[str], folder: Path) -> None:
    """Writes the weight files of a listing, without their tensors. Raises IntegrityViolated for a header that is broken
    twice: what arrives has no hash."""
    for name in names:
        if name.endswith(".safetensors"):
            try:
                _write(found, name, folder)
            except IntegrityViolated as error:
                log.warning("rehearse.header_damaged", file=name, why=error.message, what="fetched again")
                _write(found, name, folder)


def _write(found: Listing, name: str, folder: Path) -> None:
    header = header_of(lambda count: found.start_of(name, count), f"{found.shown}: {name}")
    write_hole(folder / name, header, found.size(name))
    check_safetensors(folder / name, found.shown)


def write_hole(path: Path, start: bytes, size: int) -> None:
    """Writes a file of `size` bytes, of which only the start takes disk space."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(max(size, len(start)))


def write_hollow_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Writes a safetensors file of float32 tensors of these shapes, without the tensors.

    Format: https://huggingface.co/docs/safetensors/index#format
    """
    end, header = 0, {}
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, allow_nan=False).encode()
    write_hole(path, struct.pack("<Q", len(text)) + text, 8 + len(text) + end)
