"""Refuses unsafe model repositories before anything of them is loaded.

This job runs no code of a model and loads no pickle: a pickle can run any code when it is loaded, and so can
`auto_map` with the Python files that it names.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from job.errors import DataInvalid, IntegrityViolated, NotFound

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".npy", ".h5", ".msgpack")
HEADER_LIMIT = 100_000_000  # bytes, the safetensors library's own limit
_CONFIGS = ("config.json", "tokenizer_config.json", "adapter_config.json", "generation_config.json")


def check_names(names: Iterable[str], where: str) -> None:
    """Refuses a repository by its files' names, before gigabytes are downloaded. Raises IntegrityViolated and
    NotFound (no weights at all)."""
    names = sorted(names)
    for name in names:
        if name.startswith("/") or ".." in name.split("/") or "\\" in name:
            raise IntegrityViolated(f"{where} has a file called {name!r}, which would leave its folder")
    scripts = [name for name in names if name.endswith(".py")]
    if scripts:
        raise IntegrityViolated(
            f"{where} contains Python files ({', '.join(scripts[:3])}), but this job runs no code of a model",
            hint="Use a version of the model that transformers supports without them.",
        )
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        raise IntegrityViolated(
            f"{where} has its weights only as pickles ({', '.join(pickles[:3])}), and loading one can run any code",
            hint="Use a revision with safetensors, or convert it on an isolated machine.",
        )
    if any(name.endswith(".gguf") for name in names):
        raise DataInvalid(
            f"{where} contains only GGUF files, which are quantized already",
            hint="Set model.id to the model that they were made from.",
        )
    raise NotFound(f"{where} has no safetensors", hint="Is this a model's folder or repository?")


def check_folder(folder: Path, where: str, *, adapter: bool = False) -> None:
    """Refuses a folder by its contents: `auto_map`, links that leave the folder, damaged weights.

    Raises IntegrityViolated, DataInvalid (already quantized, a broken config.json) and NotFound.
    """
    files = [path for path in folder.rglob("*") if not path.is_dir() and ".cache" not in path.relative_to(folder).parts]
    check_names((path.relative_to(folder).as_posix() for path in files), where)
    for path in files:
        if path.is_symlink() and not _stays(path, folder):
            raise IntegrityViolated(f"{where}: {path.name} is a link that leaves the folder")
    wanted = "adapter_config.json" if adapter else "config.json"
    if not (folder / wanted).is_file():
        raise NotFound(f"{where} has no {wanted}", hint=f"Is this {'an adapter' if adapter else 'a model'}?")
    for name in _CONFIGS:
        if (folder / name).is_file():
            _check_config(_read(folder / name, where), name, where)
    for path in files:
        if path.suffix == ".safetensors":
            check_safetensors(path, where)


def _stays(path: Path, folder: Path) -> bool:
    """A link may point into the folder, or to a blob of huggingface_hub's own cache beside the snapshot."""
    target = path.resolve()
    return target.is_relative_to(folder.resolve()) or target.parent.name == "blobs"


def _read(path: Path, where: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataInvalid(f"{where}: {path.name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataInvalid(f"{where}: {path.name} is not a JSON object")
    return found


def _check_config(config: dict[str, Any], name: str, where: str) -> None:
    if "auto_map" in config:
        raise IntegrityViolated(
            f"{where}: {name} has auto_map, which runs Python code of the model",
            hint="Use a version of the model that transformers supports without it.",
        )
    method = (config.get("quantization_config") or {}).get("quant_method")
    if method:
        raise DataInvalid(
            f"{where} is quantized already ({method}); an adapter would be merged into rounded weights",
            hint="Name the original 16-bit model.",
        )


def check_safetensors(path: Path, where: str) -> None:
    """Reads a file's header: its length, its JSON, and that the tensors lie in the file, one after the other.

    Source: https://huggingface.co/docs/safetensors/index#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        if start.startswith(b"version https://git-lfs"):
            raise IntegrityViolated(
                f"{where}: {path.name} is a Git LFS pointer, not the weights", hint="Run `git lfs pull` there."
            )
        if len(start) < 8:
            raise IntegrityViolated(f"{where}: {path.name} is cut off")
        (length,) = struct.unpack("<Q", start[:8])
        if length > min(HEADER_LIMIT, size - 8):
            raise IntegrityViolated(f"{where}: {path.name} claims a header of {length} bytes, but has {size} in all")
        file.seek(8)
        text = file.read(length)
    try:
        header = json.loads(text)
        spans = sorted(
            (tensor["data_offsets"][0], tensor["data_offsets"][1], name)
            for name, tensor in header.items()
            if name != "__metadata__"
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise IntegrityViolated(f"{where}: the header of {path.name} is damaged") from error
    end = 0
    for first, last, name in spans:
        if first != end or last < first:
            raise IntegrityViolated(f"{where}: the tensors of {path.name} overlap or leave gaps at {name[:80]!r}")
        end = last
    if end != size - 8 - length:
        raise IntegrityViolated(
            f"{where}: {path.name} has {size - 8 - length} bytes of tensors, not {end} as its header says"
        )
