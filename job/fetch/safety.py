"""Refuses unsafe model repositories before anything of them is loaded.

This job runs no code of a model and loads no pickle: a pickle can run any code when it is loaded, and so can
`auto_map` with the Python files that it names.
"""

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from job import adapter_config, architectures
from job.artifacts import check_name, json_object, stays
from job.errors import DataInvalid, IntegrityViolated, NotFound
from job.fetch.listing import Listing
from job.fetch.view import CONFIGS
from job.fetch.weights import weight_files
from job.safetensors_files import HEADER_LIMIT

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npz", ".npy", ".h5", ".msgpack")


def check_names(names: Iterable[str], where: str) -> None:
    """Refuses a repository by its files' names, before gigabytes are downloaded. Raises IntegrityViolated and
    NotFound (no weights at all)."""
    names = sorted(names)
    for name in names:
        try:
            check_name(name)
        except IntegrityViolated as error:
            raise IntegrityViolated(f"{where} has a file called {name!r}, which would leave its folder") from error
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


def check_folder(folder: Path, where: str, *, adapter: bool = False, trained: bool = True) -> None:
    """Refuses a model's or an adapter's folder by its contents: links that leave it, damaged weights, and configs as
    `check_configs` does.

    Raises IntegrityViolated, DataInvalid (already quantized, a broken config.json), SpecInvalid and NotFound.
    """
    paths = [path for path in folder.rglob("*") if ".cache" not in path.relative_to(folder).parts]
    for path in paths:
        if path.is_symlink() and not stays(path, folder):
            raise IntegrityViolated(f"{where}: {path.name} is a link that leaves the folder")
    check_names((path.relative_to(folder).as_posix() for path in paths if not path.is_dir()), where)
    found = Listing.of(folder, where)
    check_configs(found, adapter=adapter, trained=trained)
    for name in weight_files(found, adapter=adapter):
        if name.endswith(".safetensors"):
            check_safetensors(folder / name, where)


def check_configs(found: Listing, *, adapter: bool = False, trained: bool = True) -> None:
    """Refuses a model as `architectures.check_config` does, or whose tokenizer needs code; an adapter of a kind that
    cannot be merged. `trained`: whether the model is to be trained."""
    where, wanted = found.shown, adapter_config.NAME if adapter else "config.json"
    if wanted not in found.names:
        raise NotFound(f"{where} has no {wanted}", hint=f"Is this {'an adapter' if adapter else 'a model'}?")
    configs = {name: json_object(found.text(name) or "", f"{where}: {name}") for name in CONFIGS if name in found.names}
    if "auto_map" in configs.get("tokenizer_config.json", {}) and "tokenizer.json" not in found.names:
        raise architectures.needs_code("tokenizer_config.json", "a tokenizer.json, which needs none", where)
    if adapter:
        adapter_config.check_mergeable(configs[wanted])
        return
    architectures.check_config(configs[wanted], where, trained=trained)


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
        if HEADER_LIMIT < length <= size - 8:
            raise IntegrityViolated(
                f"{where}: {path.name} has a header of {length} bytes, more than any model needs ({HEADER_LIMIT})"
            )
        if length > size - 8:
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
