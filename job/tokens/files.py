"""Rows as token ids, in one Parquet file for each part of the data.

input_ids   the row's tokens, cut at training.max_length
labels      the same, with -100 where there is no loss
length      the number of tokens before the cut
source      the file and line of the row
"""

import hashlib
from array import array
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from job.artifacts import Frozen, written_whole
from job.tokens.encoder import NO_LOSS, Encoded

FORMAT = 5
"""Other tokens or labels of the same rows have another number."""
_BATCH = 1000


class TokenRows(Frozen):
    """A file of rows. `digest`: of ids and labels alone; `trained`: tokens with a loss; `cut`: rows longer than
    training.max_length; `longest`: tokens of the longest row, None if an earlier release has written it."""

    path: Path
    digest: str
    rows: int
    tokens: int
    trained: int
    cut: int
    longest: int | None = None


def write(rows: Iterable[tuple[str, Encoded]], path: Path) -> TokenRows:
    """Writes rows, each with its source."""
    import pyarrow as pa
    from pyarrow import parquet

    ids = pa.list_(pa.int32())
    schema = pa.schema([("input_ids", ids), ("labels", ids), ("length", pa.int32()), ("source", pa.string())])
    sums, digest = dict.fromkeys(("rows", "tokens", "trained", "cut", "longest"), 0), hashlib.sha256()
    with written_whole(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as file:
        batch: list[dict[str, Any]] = []
        for source, row in rows:
            for part in (row.ids, row.labels):
                digest.update(len(part).to_bytes(4, "little") + array("i", part).tobytes())
            sums["rows"] += 1
            sums["tokens"] += len(row.ids)
            sums["trained"] += sum(label != NO_LOSS for label in row.labels)
            sums["longest"] = max(sums["longest"], len(row.ids))
            sums["cut"] += row.length > len(row.ids)
            batch.append({"input_ids": row.ids, "labels": row.labels, "length": row.length, "source": source})
            if len(batch) == _BATCH:
                file.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        file.write_table(pa.Table.from_pylist(batch, schema))
    return TokenRows(path=path, digest=digest.hexdigest(), **sums)


def dataset_of(path: Path, cache: Path) -> Any:
    """The ids and labels as a datasets.Dataset on disk, as the trainers take it."""
    from datasets import Dataset

    return Dataset.from_parquet(str(path), cache_dir=str(cache), columns=["input_ids", "labels"])


def ids_of(path: Path) -> Iterator[list[int]]:
    """Each row's token ids."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=["input_ids"]):
            yield from batch.column(0).to_pylist()


def ends_of(path: Path, stops: Collection[int], *, every: bool) -> Iterator[int]:
    """The places, in the stream of all rows, of the tokens with a loss that end an answer; of each row the last one, if
    not `every` one of them ends an answer."""
    from pyarrow import parquet

    start = 0
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=["labels"]):
            for labels in batch.column(0).to_pylist():
                found = [place for place, label in enumerate(labels) if label in stops]
                yield from (start + place for place in (found if every else found[-1:]))
                start += len(labels)
