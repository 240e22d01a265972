"""Data sets: from local files of many formats to one train.jsonl and one eval.jsonl of normalized rows.

`splits` finds the files of a configuration and a split, `opening`, `encoding` and the readers turn bytes into rows,
`heads` and `layouts` detect how rows are read, `reading` what kind they become, `normalize` converts them, `prepare`
splits, weights and writes them.
"""

from job.dataset.held_out import Wanted
from job.dataset.prepare import Prepared, prepare
from job.dataset.reading import Source, common_kind, find_source
from job.dataset.running_text import write_text
from job.dataset.splits import files_wanted

__all__ = ["Prepared", "Source", "Wanted", "common_kind", "files_wanted", "find_source", "prepare", "write_text"]
