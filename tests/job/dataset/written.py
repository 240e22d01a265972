"""Rows in the formats of files."""

import csv
import io
import json
from typing import Any


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, row_group_size=7)
    return out.getvalue()


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    out, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return out.getvalue()


def as_feather(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow import feather

    out = io.BytesIO()
    feather.write_feather(pa.Table.from_pylist(rows), out, compression="zstd", chunksize=7)
    return out.getvalue()
