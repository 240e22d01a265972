"""Rows of an Arrow file: a stream, as `datasets` saves it, or a file with an index, as pandas writes Feather.

The file is mapped, not read. Arrow trusts what a file says of itself, so each part is checked before it is looked at,
and what is compressed is bounded in time and memory.
"""

import io
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from job.bounds import Exceeded, bounded
from job.dataset.columns import rows_of_batch, seekable, split_columns
from job.dataset.opening import ARROW_FILE
from job.dataset.rows import NOT_UTF_8, Broken, Row, shown
from job.errors import DataInvalid

_ROWS = 128
BATCH_S, BATCH_MEMORY = 60, 1 << 30


def arrow_rows(
    file: io.BufferedReader, path: Path, head: bytes, columns: set[str] | None
) -> Generator[Row, None, None]:
    """The rows with their numbers, from 1. Raises DataInvalid for a damaged file or a column that is not text.

    Without `columns`, all columns that could hold text are read; of others a row says what they contain.
    """
    import pyarrow as pa

    is_file = head.startswith(ARROW_FILE)
    with ExitStack() as stack:
        source = stack.enter_context(seekable(file, path))
        pa.set_memory_pool(pa.system_memory_pool())  # the others reserve memory ahead, which no limit sees
        try:
            data = stack.enter_context(pa.memory_map(str(source)) if source is path else pa.PythonFile(source))
            schema = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(data).schema
            wanted, unread = split_columns(schema, columns, path.name)
            data.seek(0)
            number = 1
            for batch in _batches(data, is_file=is_file, fields=[schema.get_field_index(name) for name in wanted]):
                for start in range(0, batch.num_rows, _ROWS):
                    for row in _checked_rows(batch.slice(start, _ROWS)):
                        yield number, row if isinstance(row, Broken) else row | unread
                        number += 1
        except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
            reason = shown(str(error) or type(error).__name__, 200)
            raise DataInvalid(f"{path.name} is damaged or not an Arrow file: {reason}") from error
        except Exceeded as error:
            raise DataInvalid(
                f"{path.name} looks like a bomb: to read a part of it, {error}",
                hint="If the data is correct, provide it as JSON Lines.",
            ) from error


def _batches(data: Any, *, is_file: bool, fields: list[int]) -> Iterator[Any]:
    """The parts that the file was written in. Raises Exceeded."""
    from pyarrow import ipc

    options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    reader = (ipc.open_file if is_file else ipc.open_stream)(data, options=options)
    parts = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else iter(reader)
    while True:
        with bounded(BATCH_S, BATCH_MEMORY):
            if (batch := next(parts, None)) is None:
                return
        yield batch


def _checked_rows(batch: Any) -> Iterator[dict[str, Any] | Broken]:
    """Rows whose offsets lie in the file. Raises pyarrow.ArrowInvalid for others."""
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        if batch.num_rows == 1:
            raise
        for index in range(batch.num_rows):
            try:
                yield from _checked_rows(batch.slice(index, 1))
            except pa.ArrowInvalid as error:
                if "UTF8" not in str(error):
                    raise
                yield Broken(f"{NOT_UTF_8}: a column")
        return
    yield from rows_of_batch(batch)
