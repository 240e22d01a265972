"""The objects at an S3 address."""

from typing import NamedTuple

from job.artifacts import check_name
from job.errors import NotFound, SpecInvalid
from job.store import Store, open_store


class Objects(NamedTuple):
    """A store and the names of its objects: those below a prefix, or a single object in its folder."""

    store: Store
    names: list[str]
    single: bool


def objects_at(place: str) -> Objects:
    """The objects below a prefix, or the single one at `place`. Raises NotFound if there is none, SpecInvalid if there
    are both, IntegrityViolated for a name that would leave its folder."""
    store = open_store(place)
    names = [check_name(name) for name in store.list() if not name.endswith("/")]  # S3 consoles mark folders
    parent, _, name = place.rpartition("/")
    folder = None if parent.endswith(":/") or not name else open_store(parent)
    found = folder.head(name) if folder else None
    if names and found and found.size:  # an empty object is a mark of a folder, too
        raise SpecInvalid(
            f"{place} is an object, and there are {len(names)} objects below {place}/ too",
            hint="Move or rename one of them, so that the address names one thing.",
        )
    if names:
        return Objects(store, names, single=False)
    if folder and found:
        return Objects(folder, [name], single=True)
    raise NotFound(f"there is nothing at {place}")
