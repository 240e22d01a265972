"""Which of a repository's files are the weights: those that transformers and PEFT would load.

A repository may have the same weights twice (`consolidated.safetensors`, another precision). Source:
transformers/modeling_utils.py, `_get_resolved_checkpoint_files`: model.safetensors, else what its index names.
"""

from job.artifacts import check_name, json_object
from job.errors import DataInvalid, IntegrityViolated, NotFound
from job.fetch.listing import Listing

SINGLE, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"


def weight_files(found: Listing, *, adapter: bool = False) -> list[str]:
    """The names of a model's or an adapter's weight files, and of the index if there is one to go by.

    Raises NotFound if one is missing, and DataInvalid or IntegrityViolated for an index that cannot be used.
    """
    names = set(found.names)
    single = ADAPTER if adapter else SINGLE
    if single in names:
        return [single]
    if adapter or INDEX not in names:
        others = sorted(name for name in names if name.endswith(".safetensors"))
        wanted = single if adapter else f"{single} and no {INDEX}"
        raise NotFound(
            f"{found.shown} has no {wanted}" + (f", only {', '.join(others[:3])}" if others else ""),
            hint="These names are what transformers and PEFT load. Is it in another format, or not uploaded whole?",
        )
    shards = shards_of(found.text(INDEX) or "", found.shown)
    if missing := [name for name in shards if name not in names]:
        raise NotFound(
            f"{found.shown} is not whole: {INDEX} names {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            + ", and nobody has put it there",
            hint="Upload what is missing, or name a revision or copy that is whole.",
        )
    return [*shards, INDEX]


def shards_of(index: str, where: str) -> list[str]:
    """The files that an index names: a loader opens every one. Raises DataInvalid and IntegrityViolated."""
    files = json_object(index, f"{where}: {INDEX}").get("weight_map")
    if not isinstance(files, dict) or not files or not all(isinstance(shard, str) for shard in files.values()):
        raise DataInvalid(f"{where}: {INDEX} has no weight_map that names a file for each tensor")
    for shard in set(files.values()):
        if "/" in shard or shard != check_name(shard):
            raise IntegrityViolated(f"{where}: {INDEX} names {shard!r}, which is not a file beside it")
    return sorted(set(files.values()))
