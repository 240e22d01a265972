"""Every file format and every row format, read from real files."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from job.dataset import Prepared, prepare
from job.dataset.readers import read_rows
from job.dataset.rows import Broken, Unread
from job.errors import DataInvalid
from job.spec.sections import Dataset
from tests import ROOT
from tests.job.dataset.written import as_arrow, as_csv, as_feather, as_jsonl, as_parquet

ROWS = [{"text": f"Row {n}: “quotes”, commas, \n a line break and ünïcödé 🙂"} for n in range(30)]


FILES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "rows.jsonl": as_jsonl,
    "rows.ndjson": lambda rows: b"\xef\xbb\xbf" + as_jsonl(rows).replace(b"\n", b"\r\n\r\n"),
    "lines.json": as_jsonl,
    "list.json": lambda rows: json.dumps(rows).encode(),
    "pretty.json": lambda rows: json.dumps(rows, indent=2).encode(),
    "list.jsonl": lambda rows: json.dumps(rows, indent=1, ensure_ascii=False).encode(),
    "wrapped.json": lambda rows: json.dumps({"version": 1, "tags": ["a"], "data": rows}).encode(),
    "wrapped-pretty.json": lambda rows: json.dumps({"info": {"by": "x"}, "data": rows}, indent=2).encode(),
    "rows.csv": as_csv,
    "bom.csv": lambda rows: b"\xef\xbb\xbf" + as_csv(rows),
    "semicolons.csv": lambda rows: as_csv([{**row, "source": "x"} for row in rows], ";"),
    "rows.tsv": lambda rows: as_csv([{**row, "n": "1"} for row in rows], "\t"),
    "sep.csv": lambda rows: b"\xef\xbb\xbfsep=;\r\n" + as_csv([{**row, "a,b": "x"} for row in rows], ";"),
    "quoted-sep.csv": lambda rows: b'"sep=|"\n' + as_csv([{**row, "a,b": "x"} for row in rows], "|"),
    "utf-16.csv": lambda rows: as_csv(rows).decode().encode("utf-16"),
    "objects.jsonl": lambda rows: "\n".join(json.dumps(row, indent=2) for row in rows).encode(),
    "objects.json": lambda rows: "\n\n".join(json.dumps(row, indent=2) for row in rows).encode(),
    "objects-and-commas.jsonl": lambda rows: ",\n".join(json.dumps(row, indent=2) for row in rows).encode(),
    "lines-and-commas.jsonl": lambda rows: ",\n".join(map(json.dumps, rows)).encode() + b",\n",
    "wrapped-pretty.jsonl": lambda rows: json.dumps({"info": {"by": "x"}, "data": rows}, indent=2).encode(),
    "rows.parquet": as_parquet,
    "rows.arrow": as_arrow,
    "rows.feather": as_feather,
    "named-wrongly.csv": as_arrow,
    "rows": as_jsonl,
}


def read(tmp_path: Path, name: str, content: bytes, *, system: str | None = None, **options: Any) -> Prepared:
    (tmp_path / name).write_bytes(content)
    dataset = Dataset(id=f"./{name}", eval_fraction=0, **options)
    return prepare([(dataset, tmp_path / name)], seed=1, system=system, out=tmp_path / "out")


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows, without their sources."""
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    return [{name: held for name, held in row.items() if name != "source"} for row in rows]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
def test_every_file_format_gives_the_same_rows(tmp_path: Path, name: str, compressed: bool) -> None:
    content = FILES[name](ROWS)
    if compressed:
        name, content = f"{name}.gz", gzip.compress(content)
    prepared = read(tmp_path, name, content)
    assert (prepared.kind, prepared.rows, prepared.broken) == ("text", len(ROWS), 0)
    assert rows_of(prepared.train) == ROWS


def test_every_row_tells_its_file_and_line(tmp_path: Path) -> None:
    prepared = read(tmp_path, "book.txt", b"\n\nOne\ntwo.\n\nThree.")
    rows = [json.loads(line) for line in prepared.train.read_text().splitlines()]
    assert [row["source"] for row in rows] == ["book.txt:3", "book.txt:6"]


def test_a_row_of_plain_text_is_a_paragraph(tmp_path: Path) -> None:
    prepared = read(tmp_path, "book.txt", b"\n\nOne\ntwo.\r\n\r\n \t\nThree.\n\n\n\nFour")
    assert rows_of(prepared.train) == [{"text": "One\ntwo."}, {"text": "Three."}, {"text": "Four"}]


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def in_parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": part} for part in (text[:1], text[1:])]


SAID = [("system", "S"), ("human", "Hi"), ("gpt", "Hello")]
ROW_FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "text": ({"id": 1, "text": "t"}, {}, {"text": "t"}),
    "the only text column": ({"id": 1, "body": "t", "n": 2.5}, {}, {"text": "t"}),
    "the recipe's quotes": ({"quote": "q", "author": "a", "tags": ["x"]}, {}, {"text": "q"}),
    "a named column": ({"title": "a", "body": "b"}, {"text": "body"}, {"text": "b"}),
    "a renamed column": ({"title": "a", "body": "b"}, {"columns": {"text": "title"}}, {"text": "a"}),
    "prompt and completion": ({"prompt": "p", "completion": "c"}, {}, {"prompt": "p", "completion": "c"}),
    "question and answer": ({"question": "p", "answer": "c"}, {}, {"prompt": "p\n", "completion": "c"}),
    "input and output": ({"input": "p", "output": "c"}, {}, {"prompt": "p\n", "completion": "c"}),
    "a renamed pair": (
        {"a": "p", "b": "c", "text": "x"},
        {"columns": {"prompt": "a", "completion": "b"}},
        {"prompt": "p", "completion": "c"},
    ),
    "messages": ({"prompt": "x", "messages": CHAT}, {}, {"messages": CHAT}),
    "messages as JSON in a text": ({"messages": json.dumps(CHAT)}, {}, {"messages": CHAT}),
    "messages in columns": (
        {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}},
        {},
        {"messages": CHAT},
    ),
    "content in parts": (
        {"messages": [{"role": t["role"], "content": in_parts(t["content"])} for t in CHAT]},
        {},
        {"messages": CHAT},
    ),
    "conversational prompt": ({"prompt": CHAT[:1], "completion": CHAT[1:]}, {}, {"messages": CHAT}),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {},
        {"messages": CHAT},
    ),
    "sharegpt with a system turn": (
        {
            "conversations": [
                {"from": "system", "value": "S"},
                *[{"from": t["role"], "value": t["content"]} for t in CHAT],
            ]
        },
        {},
        {"messages": [{"role": "system", "content": "S"}, *CHAT]},
    ),
    "alpaca": ({"instruction": "Hi", "input": "", "output": "Hello", "text": "x"}, {}, {"messages": CHAT}),
    "alpaca with an input": (
        {"instruction": "Add", "input": "1 2", "output": "3"},
        {},
        {"messages": [{"role": "user", "content": "Add\n\n1 2"}, {"role": "assistant", "content": "3"}]},
    ),
    "alpaca, renamed": (
        {"task": "Hi", "result": "Hello"},
        {"columns": {"instruction": "task", "output": "result"}},
        {"messages": CHAT},
    ),
    "a format that is asked for": ({"text": "t", "messages": CHAT}, {"format": "text"}, {"text": "t"}),
}


@pytest.mark.parametrize("name", ROW_FORMATS)
@pytest.mark.parametrize("file", ["rows.jsonl", "rows.parquet"])
def test_every_row_format_is_found_by_looking(tmp_path: Path, name: str, file: str) -> None:
    row, options, expected = ROW_FORMATS[name]
    prepared = read(tmp_path, file, FILES[file]([row, row]), **options)
    assert rows_of(prepared.train) == [expected, expected]
    assert prepared.kind == (
        "messages" if "messages" in expected else "text" if "text" in expected else "prompt_completion"
    )


def test_the_system_prompt_goes_before_conversations_that_have_none(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "mine"}, *CHAT]
    prepared = read(tmp_path, "a.jsonl", as_jsonl([{"messages": CHAT}, {"messages": own}]), system="ours")
    assert [row["messages"][0]["content"] for row in rows_of(prepared.train)] == ["ours", "mine"]


def test_a_system_prompt_changes_no_plain_text(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, "a.jsonl", b'{"text": "t"}', system="ours").train) == [{"text": "t"}]


def test_characters_that_some_readers_split_lines_at_stay_inside_their_row(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d\x0be"
    prepared = read(tmp_path, "a.jsonl", as_jsonl([{"text": text}]))
    assert [json.loads(line)["text"] for line in prepared.train.read_text().splitlines()] == [text]


def test_a_quote_that_is_never_closed_costs_one_csv_row(tmp_path: Path) -> None:
    content = b'text,n\ngood,1\n"never closed,2\nstill good,3\nand good,4\n'
    (tmp_path / "a.csv").write_bytes(content)
    found = list(read_rows(tmp_path / "a.csv"))
    assert [line for line, row in found if isinstance(row, Broken)] == [3]
    assert [row["text"] for _, row in found if isinstance(row, dict)] == ["good", "still good", "and good"]


def test_csv_rows_are_numbered_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,n\r\n"one\r\ntwo",1\r\n\r\n"thr""ee",2\r\n')
    assert list(read_rows(tmp_path / "a.csv")) == [
        (2, {"text": "one\r\ntwo", "n": "1"}),
        (5, {"text": 'thr"ee', "n": "2"}),
    ]


def test_a_json_list_survives_rows_that_cannot_be_used(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    rows = ['{"text": "a"}', deep, "9" * 5000, '{"text": "\\ud800"}', "3", '{"text": "b"}']
    (tmp_path / "a.json").write_text("[" + ",\n".join(rows) + "]")
    found = list(read_rows(tmp_path / "a.json"))
    assert [line for line, _ in found] == [1, 2, 3, 4, 5, 6]
    assert [row.why for _, row in found if isinstance(row, Broken)] == [
        "JSON nested too deeply",
        "a number with too many digits",
        "the row is a number, not an object",
    ]


def test_one_conversation_over_several_lines_is_a_row_and_its_turns_are_none(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json"):
        (tmp_path / name).write_text(json.dumps({"messages": CHAT}, indent=2))
        assert [row for _, row in read_rows(tmp_path / name)] == [{"messages": CHAT}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": 1, "dialog": CHAT}, indent=2))
    assert [row for _, row in read_rows(tmp_path / "a.jsonl")] == [{"id": 1, "dialog": CHAT}]


def test_objects_over_several_lines_are_numbered_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{\n"text": "a"\n}\n\n{"text": "b"}\n{\n"text":\n"c"}')
    assert list(read_rows(tmp_path / "a.jsonl")) == [(1, {"text": "a"}), (5, {"text": "b"}), (6, {"text": "c"})]


def test_a_broken_first_line_makes_no_objects_of_the_lines_behind_it(tmp_path: Path) -> None:
    for broken in ('{"text": "a"', "{", '{"text": "a",', '{"text": "\xff"}'):
        (tmp_path / "a.jsonl").write_bytes(broken.encode("latin-1") + b'\n{"text": "b"}\n{"text": "c"}\n')
        first, *others = [row for _, row in read_rows(tmp_path / "a.jsonl")]
        assert isinstance(first, Broken)
        assert others == [{"text": "b"}, {"text": "c"}]


def test_a_document_of_several_lists_of_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"test": ROWS, "train": ROWS}))
    with pytest.raises(DataInvalid, match="holds several lists of rows: test, train"):
        list(read_rows(tmp_path / "a.json"))


@pytest.mark.parametrize("file", ["rows.parquet", "rows.arrow"])
@pytest.mark.parametrize("kind", ["list", "large_list", "list_view", "fixed_size_list", "of maps", "dictionaries"])
def test_every_kind_of_list_and_map_of_a_table_is_read(tmp_path: Path, file: str, kind: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    turn = pa.struct([("role", pa.large_string()), ("content", pa.large_string())])
    lists = {
        "list": pa.list_(turn),
        "large_list": pa.large_list(turn),
        "list_view": pa.list_view(turn),
        "fixed_size_list": pa.list_(turn, 2),
        "of maps": pa.list_(pa.map_(pa.string(), pa.string())),
        "dictionaries": pa.list_(
            pa.struct([("role", pa.dictionary(pa.int32(), pa.string())), ("content", pa.string())])
        ),
    }
    chats: list[Any] = [CHAT] * 300
    if kind == "of maps":
        chats = [[list(one.items()) for one in chat] for chat in chats]
    plain = pa.array(chats, pa.list_(turn)) if kind == "dictionaries" else pa.array(chats, lists[kind])
    table = pa.table({"messages": plain.cast(lists[kind]), "image": pa.array([b"x"] * 300)})
    if file == "rows.parquet":
        parquet.write_table(table, tmp_path / file)
    else:
        with pa.ipc.new_stream(tmp_path / file, table.schema) as writer:
            writer.write_table(table)
    found = [row for _, row in read_rows(tmp_path / file, {"messages"})]
    assert found == [{"messages": CHAT}] * 300


def test_a_map_with_a_key_twice_costs_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    maps = [[("role", "user"), ("role", "x")], [("role", "user"), ("content", "y")]]
    parquet.write_table(pa.table({"turn": pa.array(maps, pa.map_(pa.string(), pa.string()))}), tmp_path / "a.parquet")
    first, second = [row for _, row in read_rows(tmp_path / "a.parquet")]
    assert str(first) == "a map has a key twice"
    assert second == {"turn": {"role": "user", "content": "y"}}


def test_only_the_needed_columns_of_a_parquet_file_are_decoded(tmp_path: Path) -> None:
    import datetime

    rows = [{"text": "t", "image": b"\0\xff", "when": datetime.datetime(2020, 1, 1), "n": 1}] * 3
    (tmp_path / "a.parquet").write_bytes(as_parquet(rows))
    assert [row for _, row in read_rows(tmp_path / "a.parquet", {"text"})] == [{"text": "t"}] * 3
    unread = {"image": Unread("binary"), "when": Unread("timestamp[us]")}
    assert [row for _, row in read_rows(tmp_path / "a.parquet")] == [{"text": "t", "n": 1, **unread}] * 3


def test_a_file_of_lines_is_read_in_little_memory_whatever_its_length(tmp_path: Path) -> None:
    rows = 2000
    with (tmp_path / "big.jsonl").open("w") as file:
        file.writelines(f'{{"text": "{n} {"x" * 8000}"}}\n' for n in range(rows))
    import_module("numpy")  # before, so that it is not counted
    tracemalloc.start()
    try:
        prepare([(Dataset(id="./big"), tmp_path / "big.jsonl")], seed=1, system=None, out=tmp_path / "out")
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_list_in_one_line_longer_than_any_row_is_streamed_in_little_memory(tmp_path: Path) -> None:
    rows = 12_000
    with (tmp_path / "big.json").open("w") as file:
        file.write('{"data": [')
        file.writelines(f'{"," if n else ""}{{"text": "{n} {"x" * 5000}"}}' for n in range(rows))
        file.write("]}")
    program = (
        "import resource, sys, structlog; from pathlib import Path; from job.dataset import prepare\n"
        "from job.spec.sections import Dataset; folder = Path(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "done = prepare([(Dataset(id='./big'), folder / 'big.json')], seed=1, system=None, out=folder / 'out')\n"
        "print(done.rows + done.eval_rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=env, capture_output=True, text=True, check=True
    )
    count, kibibytes = map(int, done.stdout.splitlines()[-1].split())
    assert count == rows
    assert kibibytes < 30 * 1024
