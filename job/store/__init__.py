"""Files that outlive the node: one set of verbs, a folder or S3."""

from job.store.base import Store
from job.store.open import open_store

__all__ = ["Store", "open_store"]
