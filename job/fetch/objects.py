"""The objects at an S3 address."""

from typing import NamedTuple

from job.artifacts import check_name
from job.errors import NotFound
from job.store import Store, open_store


class Objects(NamedTuple):
    """A store and the names of its objects: those below a prefix, or a single object in its folder."""

    store: Store
    names: list[str]
    single: bool


def objects_at(place: str) -> Objects:
    """The objects below a prefix, or the single one at `place`. Raises NotFound if there is
    none, IntegrityViolated for a name that would leave its folder."""
    store = open_store(place)
    if names := [check_name(name) for name in store.list() if not name.endswith("/")]:  # S3 consoles mark folders
        return Objects(store, names, single=False)
    parent, _, name = place.rpartition("/")
    if not parent.endswith(":/") and name and (folder := open_store(parent)).head(name) is not None:
        return Objects(folder, [name], single=True)
    raise NotFound(f"there is nothing at {place}")
