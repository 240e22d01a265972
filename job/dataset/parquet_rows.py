"""Rows of a Parquet file, read in batches; only the columns that are needed are decoded.

A few bytes of Parquet can stand for gigabytes (a dictionary, run lengths, compression), so decoding is bounded: each
batch in time and memory, and all of them by their size beside the file's.
"""

import io
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from job.bounds import Exceeded, bounded
from job.dataset.columns import rows_of_batch, seekable, split_columns
from job.dataset.rows import Broken, Row, shown
from job.errors import DataInvalid

_BATCH = 128
BATCH_S, BATCH_MEMORY = 10, 256 << 20
MAX_DECODED, MAX_RATIO = 256 << 20, 300
"""A file may decode to so many bytes, or to so many times its own size."""


def parquet_rows(file: io.BufferedReader, path: Path, columns: set[str] | None) -> Generator[Row, None, None]:
    """The rows with their numbers, from 1. Raises DataInvalid for a damaged file or a column that is not text.

    Without `columns`, all columns that could hold text are read; of others a row says what they contain.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        source = stack.enter_context(seekable(file, path))
        pa.set_memory_pool(pa.system_memory_pool())  # the others reserve memory ahead, which no limit sees
        try:
            table = stack.enter_context(parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20))
            wanted, unread = split_columns(table.schema_arrow, columns, path.name)
            number = 1
            if not wanted:
                yield from ((row, dict(unread)) for row in range(1, table.metadata.num_rows + 1))
                return
            for rows in _batches(table, wanted, path.stat().st_size):
                for row in rows:
                    yield number, row if isinstance(row, Broken) else row | unread
                    number += 1
        except (pa.ArrowException, ValueError, OverflowError) as error:
            reason = shown(str(error) or type(error).__name__, 200)
            raise DataInvalid(f"{path.name} is damaged or not a Parquet file: {reason}") from error
        except Exceeded as error:
            raise DataInvalid(f"{path.name} looks like a bomb: to decode {_BATCH} of its rows, {error}") from error


def _batches(table: Any, columns: list[str], size: int) -> Iterator[list[dict[str, Any] | Broken]]:
    """Some rows at a time. `size`: the file's bytes. Raises Exceeded and DataInvalid."""
    batches = table.iter_batches(batch_size=_BATCH, columns=columns, use_threads=False)
    decoded = 0
    while True:
        with bounded(BATCH_S, BATCH_MEMORY):
            if (batch := next(batches, None)) is None:
                return
            rows = list(rows_of_batch(batch))
        decoded += batch.nbytes
        if decoded > MAX_DECODED and decoded > MAX_RATIO * size:
            raise DataInvalid(
                f"the file looks like a bomb: its {size} bytes decode to more than {MAX_RATIO} times as many",
                hint="If the data is correct, provide it as JSON Lines.",
            )
        yield rows
