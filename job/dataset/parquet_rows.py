"""Rows of a Parquet file, read in batches; only the columns that are needed are decoded.

A few bytes of Parquet can stand for gigabytes (a dictionary, run lengths, compression), so decoding is bounded: each
batch in time and memory, and all of them by their size beside the file's.
"""

import io
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from job.bounds import Exceeded, bounded
from job.dataset.rows import Broken, Row, shown
from job.errors import DataInvalid

_BATCH = 128
BATCH_S, BATCH_MEMORY = 10, 256 << 20
MAX_DECODED, MAX_RATIO = 256 << 20, 300
"""A file may decode to so many bytes, or to so many times its own size."""


def parquet_rows(file: io.BufferedReader, path: Path, columns: set[str] | None) -> Generator[Row, None, None]:
    """The rows with their numbers, from 1. Raises DataInvalid for a damaged file or a column that is not text.

    Without `columns`, all columns that could hold text are read: no images, no timestamps.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with ExitStack() as stack:
        source: Any = path
        if not isinstance(file.raw, io.FileIO):  # gzipped: Parquet is read from its end
            source = stack.enter_context(tempfile.TemporaryFile())
            while block := file.read(1 << 20):
                source.write(block)
            source.seek(0)
        pa.set_memory_pool(pa.system_memory_pool())  # the others reserve memory ahead, which no limit sees
        try:
            table = stack.enter_context(parquet.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20))
            wanted = _readable(table.schema_arrow, columns, path.name)
            number = 1
            if not wanted:
                yield from ((row, {}) for row in range(1, table.metadata.num_rows + 1))
                return
            for rows in _batches(table, wanted, path.stat().st_size):
                for row in rows:
                    yield number, row
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
            rows = list(_rows(batch))
        decoded += batch.nbytes
        if decoded > MAX_DECODED and decoded > MAX_RATIO * size:
            raise DataInvalid(
                f"the file looks like a bomb: its {size} bytes decode to more than {MAX_RATIO} times as many",
                hint="If the data is correct, provide it as JSON Lines.",
            )
        yield rows


def _readable(schema: Any, columns: set[str] | None, name: str) -> list[str]:
    wanted = []
    for field in schema:
        fit = _could_hold_text(field.type)
        if columns is not None and field.name in columns and not fit:
            raise DataInvalid(
                f"{name}: column {shown(field.name)} contains {field.type}, not text",
                hint="Name another column in dataset.text or dataset.columns.",
            )
        if fit and (columns is None or field.name in columns):
            wanted.append(field.name)
    return wanted


def _could_hold_text(kind: Any) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        return _could_hold_text(kind.value_type)
    if types.is_struct(kind):
        return any(_could_hold_text(kind.field(i).type) for i in range(kind.num_fields))
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return types.is_null(kind) or any(is_it(kind) for is_it in plain)


def _rows(batch: Any) -> Iterator[dict[str, Any] | Broken]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield Broken(f"not UTF-8: byte {error.start + 1} of a column")
