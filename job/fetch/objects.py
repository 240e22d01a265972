"""What is at an S3 address."""

from typing import NamedTuple

from job.errors import NotFound
from job.store import Store, open_store


class Objects(NamedTuple):
    """What is at an S3 address: the objects below a prefix, or a single one, as its folder's store and its name."""

    store: Store
    names: list[str]
    single: bool


def objects_at(place: str) -> Objects:
    """Raises NotFound where there is nothing."""
    store = open_store(place)
    if names := [*store.list()]:
        return Objects(store, names, single=False)
    parent, _, name = place.rpartition("/")
    if parent != "s3:/" and name and (folder := open_store(parent)).head(name) is not None:
        return Objects(folder, [name], single=True)
    raise NotFound(f"there is nothing at {place}")
