"""What a place in a spec is: a Hub id, an S3 address, a file or a folder."""

from pathlib import Path

from job.spec.spec import JobSpec

_DATA_FILES = (".json", ".csv", ".parquet", ".txt", ".gz")


def is_hub_data(place: str) -> bool:
    return is_hub_id(place) and not Path(place).suffix.lower().startswith(_DATA_FILES)


def is_hub_id(place: str) -> bool:
    """Whether a model's or data set's id names a repository on the Hub, not a folder, a file or an address."""
    return "://" not in place and not place.startswith((".", "/", "~")) and place.count("/") <= 1


def public_name(place: str) -> str:
    """A Hub id as it is; of a folder or an address only the last part, which says nothing about a machine."""
    return place if is_hub_id(place) else place.rstrip("/").split("/")[-1]


def is_fetched(spec: JobSpec) -> bool:
    """Whether the base model is downloaded, and not used where it lies."""
    return is_hub_id(spec.model.id) or spec.model.id.startswith("s3://")
