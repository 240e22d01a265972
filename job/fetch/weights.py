"""Which of a repository's files are the weights: those that transformers and PEFT would load.

A repository may have the same weights twice (`consolidated.safetensors`, another precision).
"""

from job.errors import NotFound
from job.fetch.listing import Listing
from job.safetensors_files import INDEX, SINGLE, shards_of

ADAPTER = "adapter_model.safetensors"


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
