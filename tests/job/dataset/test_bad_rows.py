"""Bad data sets, each with its exit code and what the message must say."""

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from job.dataset import prepare
from job.errors import JobError
from job.spec.sections import Dataset
from tests.job.dataset.written import as_arrow

Content = bytes | dict[str, bytes] | Callable[[], bytes]


def parquet(**columns: Any) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def times() -> bytes:
    import pyarrow as pa

    return parquet(t=pa.array([1, 2], pa.timestamp("ns")))


def invalid_utf8_parquet() -> bytes:
    import pyarrow as pa

    raw = pa.array([b"\xff\xfe" * 9] * 3)
    return parquet(text=pa.Array.from_buffers(pa.string(), 3, raw.buffers()))


def chat(*roles: str) -> bytes:
    return json.dumps({"messages": [{"role": role, "content": "x"} for role in roles]}).encode()


def lines(*rows: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


GOOD = lines({"text": "fine"})

BAD: dict[str, tuple[str, Content, dict[str, Any], int, str]] = {
    "nothing there": ("a.jsonl", {}, {}, 66, "does not exist"),
    "an empty file": ("a.jsonl", b"", {}, 65, "has no rows"),
    "an empty gz": ("a.jsonl.gz", gzip.compress(b""), {}, 65, "has no rows"),
    "only blank lines": ("a.jsonl", b"\n \n\t\n", {}, 65, "has no rows"),
    "only a header": ("a.csv", b"text,author\n", {}, 65, "has no rows"),
    "an empty list": ("a.json", b"[]", {}, 65, "has no rows"),
    "an unknown suffix": ("a.rows", b"what", {}, 65, "no known suffix"),
    "a zip": ("a.csv", b"PK\x03\x04....", {}, 65, "is a zip archive"),
    "zstd": ("a.jsonl", b"\x28\xb5\x2f\xfd..", {}, 65, "zstd"),
    "lists of columns": (
        "a.json",
        b'{"prompt": ["a", "b"], "completion": ["c", "d"]}',
        {},
        65,
        "holds columns, not rows",
    ),
    "columns of pandas": (
        "a.json",
        b'{\n"q": {"0": "a", "1": "b"},\n"a": {"0": "c", "1": "d"}}',
        {},
        65,
        "holds columns",
    ),
    "a table as text": ("a.txt", "q\ta\r\nb\tc\r\nd\te\r\n".encode("utf-16"), {}, 65, "a.txt is a table"),
    "lines of old Macs": ("a.csv", b"prompt,completion\ra,b\rc,d\r", {}, 65, "the CSV header cannot be read"),
    "an old Excel file": ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", {}, 65, "is an old Excel or Word file"),
    "an SQLite database": ("a.csv", b"SQLite format 3\0", {}, 65, "is an SQLite database"),
    "a pickle": ("a.jsonl", b"\x80\x04\x95", {}, 65, "is a Python pickle"),
    "a PDF": ("a.txt", b"%PDF-1.7", {}, 65, "is a PDF"),
    "a web page": ("a.jsonl", b"\n<!DOCTYPE html><p>Log in", {}, 65, "is a web page"),
    "an LFS pointer": ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid", {}, 65, "Git LFS pointer"),
    "a cut-off gz": ("a.jsonl.gz", gzip.compress(GOOD * 99)[:-12], {}, 65, "is cut off or damaged"),
    "a damaged gz": ("a.jsonl.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50, {}, 65, "is cut off or damaged"),
    "a gzip bomb": ("a.jsonl.gz", lambda: gzip.compress(b"\n" * (20 << 20)), {}, 65, "gzip bomb"),
    "a gzip bomb in one line": ("a.txt.gz", lambda: gzip.compress(b"a" * (90 << 20)), {}, 65, "gzip bomb"),
    "no Parquet": ("a.parquet", b"text\nx", {}, 65, "is not a Parquet file"),
    "a cut-off Parquet": ("a.parquet", lambda: parquet(text=["x"] * 99)[:-20], {}, 65, "damaged or not a Parquet"),
    "a Parquet of numbers": ("a.parquet", lambda: parquet(n=[1, 2]), {}, 65, "its columns are 'n' (a number)"),
    "invalid UTF-8 in Parquet": ("a.parquet", invalid_utf8_parquet, {}, 65, "row"),
    "a Parquet column of bytes": ("a.parquet", lambda: parquet(text=["a"], b=[b"x"]), {"text": "b"}, 65, "'b'"),
    "a Parquet column of times": ("a.parquet", times, {"text": "t"}, 65, "'t' contains 'timestamp[ns]', not text"),
    "answers of bytes": ("a.parquet", lambda: parquet(prompt=["a"], completion=[b"x"]), {}, 65, "contains 'binary'"),
    "no Arrow": ("a.arrow", b"text\nx", {}, 65, "is not an Arrow file"),
    "a cut-off Arrow": ("a.arrow", lambda: as_arrow([{"text": "x"}] * 99)[:-200], {}, 65, "damaged or not an Arrow"),
    "a cut-off object": ("a.jsonl", b'{\n"text": "a"\n}\n{\n"text": "b"', {}, 65, "line 5: not JSON"),
    "no JSON": ("a.jsonl", b"text: hello\n", {}, 65, "a.jsonl, line 1: not JSON: Expecting value at column 1"),
    "a row that is a list": ("a.jsonl", b'["text"]\n["x"]', {}, 65, "the row is a list, not an object"),
    "a row that is a number": ("a.jsonl", b"17", {}, 65, "the row is a number, not an object"),
    "a cut-off list": ("a.json", b'[\n{"text": "a"},\n{"text": "b"', {}, 65, "line 3: not JSON"),
    "a list with a comma too many": ("a.json", b'[{"text": "a"},\n]', {}, 65, "line 2: not JSON"),
    "two lists": ("a.json", b'[{"text": "a"}]\n[{"text": "b"}]', {}, 65, "not an object"),
    "an object without rows": ("a.json", b'{\n"a": {"b": [1]}, "c": []}', {}, 65, "without a list of rows"),
    "a list that is never closed": ("a.json", b"[" + b'{"a":' * 200_000, {}, 65, "not JSON"),
    "invalid UTF-8": ("a.jsonl", GOOD + b'\n{"text": "\xff"}', {}, 65, "line 2: not UTF-8: byte 0xff at column 11"),
    "invalid UTF-8 in a list": ("a.json", b'[{"text": "\xff"}]', {}, 65, "not UTF-8"),
    "invalid UTF-8 in CSV": ("a.csv", b"text\nok\n\xfft\xff\n", {}, 65, "line 3 is not UTF-8"),
    "invalid UTF-8 in text": ("a.txt", b"one\n\ntwo\n\xff\n", {}, 65, "line 4: not UTF-8"),
    "a NUL": ("a.jsonl", lines({"text": "a\0b"}), {}, 65, "contains a NUL character"),
    "half a surrogate pair": ("a.jsonl", b'{"text": "\\ud83d"}', {}, 65, "half of a surrogate pair"),
    "nested too deeply": ("a.jsonl", GOOD + b"\n" + b'{"a":' * 90_000, {}, 65, "line 2: JSON nested too deeply"),
    "a number of many digits": ("a.jsonl", b'{"text": ' + b"9" * 9999 + b"}", {}, 65, "too many digits"),
    "a line above the limit": ("a.jsonl", lambda: GOOD + b"\n" + b"x" * (9 << 20), {}, 65, "longer than 8 MiB"),
    "a line without an end": ("a.jsonl", lambda: b"x" * (80 << 20), {}, 65, "more than 64 MiB"),
    "a cell above the limit": ("a.parquet", lambda: parquet(text=["x" * (9 << 20)]), {}, 65, "longer than 8 MiB"),
    "fields missing": ("a.csv", b"text,n\na,1\nb\n", {}, 65, "line 3: the row has 1 fields, but the header has 2"),
    "a column twice": ("a.csv", b"text,text\na,b\n", {}, 65, "names 'text' twice"),
    "an open quote in the header": ("a.csv", b'text,"n\na,b\n', {}, 65, "the CSV header cannot be read"),
    "characters behind a quote": ("a.csv", b'text,n\n"a"b,1\n', {}, 65, "line 2: not CSV"),
    "an empty text": ("a.jsonl", lines({"text": " \n"}), {}, 65, "column 'text' is empty"),
    "a null text": ("a.jsonl", lines({"text": None}), {}, 65, "column 'text' is missing or null"),
    "a text that is a number": ("a.jsonl", lines({"text": 5}), {}, 65, "column 'text' contains a number, not text"),
    "no answer": ("a.jsonl", lines({"prompt": "a", "completion": ""}), {}, 65, "column 'completion' is empty"),
    "a prompt that is an object": ("a.jsonl", lines({"prompt": {}, "completion": "c"}), {}, 65, "contains an object"),
    "no column that fits": ("a.jsonl", lines({"a": "x", "b": "y"}), {}, 65, "its columns are 'a' (text), 'b' (text)"),
    "two pairs": (
        "a.jsonl",
        lines({"question": "a", "answer": "b", "input": "c", "output": "d"}),
        {},
        65,
        "it is unclear how to read a row",
    ),
    "a context that would be lost": (
        "a.jsonl",
        lines({"question": "a", "answer": "b", "context": "c"}),
        {},
        65,
        "its columns are 'question' (text), 'answer' (text), 'context' (text)",
    ),
    "a text column that is not there": ("a.jsonl", GOOD, {"text": "quote"}, 65, "no column 'quote' (dataset.text)"),
    "a rename to what is not there": ("a.jsonl", GOOD, {"columns": {"text": "b"}}, 65, "no column 'b'"),
    "a rename the wrong way round": ("a.jsonl", GOOD, {"columns": {"body": "text"}}, 65, "no format expects a column"),
    "a format that does not fit": (
        "a.jsonl",
        GOOD,
        {"format": "alpaca"},
        65,
        "as alpaca; its columns are 'text' (text)",
    ),
    "messages that are text": ("a.jsonl", lines({"messages": "hello"}), {}, 65, "contains text, not a list of turns"),
    "no turns": ("a.jsonl", lines({"messages": []}), {}, 65, "contains no turns"),
    "a turn that is text": ("a.jsonl", lines({"messages": ["hi"]}), {}, 65, "turn 1 is text, not an object"),
    "no assistant": ("a.jsonl", chat("user"), {}, 65, "there is no assistant turn"),
    "the assistant first": (
        "a.jsonl",
        chat("assistant", "user"),
        {},
        65,
        "turn 1 is of the assistant, not of",
    ),
    "the user twice": ("a.jsonl", chat("system", "user", "user", "assistant"), {}, 65, "turn 3 is of the user"),
    "the system late": ("a.jsonl", chat("user", "assistant", "system"), {}, 65, "turn 3 is of the system"),
    "an unknown role": ("a.jsonl", chat("user", "wizard\x1b[2J"), {}, 65, "the unknown role 'wizard?[2J'"),
    "no role": ("a.jsonl", lines({"messages": [{"content": "a"}]}), {}, 65, "turn 1 has no role"),
    "no content": ("a.jsonl", lines({"messages": [{"role": "user"}]}), {}, 65, "turn 1 has no content"),
    "an image": (
        "a.jsonl",
        lines({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}),
        {},
        65,
        "a part that is not text",
    ),
    "a split that is not there": (
        "data",
        {"train.jsonl": GOOD, "test.jsonl": GOOD},
        {"split": "dev"},
        66,
        "has no split 'dev'; it has test, train",
    ),
    "an evaluation split of a file": ("a.jsonl", GOOD, {"eval_split": "test"}, 65, "one file, which has no splits"),
    "a folder without data": ("data", {"notes.md": b"x", "load.py": b"x"}, {}, 66, "no data file among its 2 files"),
    "a configuration that is not there": ("data", {"fr/a.csv": b"x"}, {"config": "de"}, 66, "no configuration 'de'"),
}


SLOW = {"a gzip bomb"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BAD])
def test_a_bad_data_set_is_refused_with_its_exit_code_and_reason(tmp_path: Path, name: str) -> None:
    file, content, options, code, reason = BAD[name]
    if isinstance(content, dict):
        for part, data in content.items():
            (tmp_path / file / part).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file / part).write_bytes(data)
    else:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content())
    with structlog.testing.capture_logs() as records, pytest.raises(JobError) as caught:
        prepare([(Dataset(id=f"./{file}", **options), tmp_path / file)], seed=1, system=None, out=tmp_path / "out")
    assert caught.value.code == code, caught.value
    assert reason in caught.value.message
    said = [str(caught.value), *(str(record) for record in records)]
    assert max(map(len, said)) < 2000 and all(text.replace("\n", "").isprintable() for text in said)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_broken_rows_below_the_share_are_counted_and_the_first_ten_shown(tmp_path: Path) -> None:
    rows = [f'{{"text": "{n}"}}' if n % 8 else "{broken" for n in range(160)]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    dataset = Dataset(id="./a.jsonl", max_broken=0.125)
    with structlog.testing.capture_logs() as records:
        prepared = prepare([(dataset, tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")
    assert (prepared.rows + prepared.eval_rows, prepared.broken) == (140, 20)
    shown = [record for record in records if record["event"] == "data.broken_row"]
    assert [record["line"] for record in shown] == [1 + 8 * n for n in range(10)]
    assert {record["file"] for record in shown} == {"a.jsonl"}


def test_numbers_for_text_are_told_how_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": 5}\n')
    with pytest.raises(JobError) as refusal:
        prepare([(Dataset(id="./a.jsonl"), tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")
    assert "in quotes" in str(refusal.value)


def test_one_broken_row_more_than_allowed_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' * 98 + "oh\nno\n")
    dataset = Dataset(id="./a.jsonl", max_broken=0.019)
    with pytest.raises(JobError, match=r"2 of 100 rows are broken \(2 %, allowed 1.9 %\): a.jsonl, line 99: not JSON"):
        prepare([(dataset, tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")


def test_an_addresss_secrets_are_in_no_message(tmp_path: Path) -> None:
    dataset = Dataset(id="https://me:canary1@host/a.jsonl?X-Amz-Signature=canary2#canary3")
    (tmp_path / "a.jsonl").write_text("x")
    with structlog.testing.capture_logs() as records, pytest.raises(JobError) as caught:
        prepare([(dataset, tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")
    assert "https://host/a.jsonl" in caught.value.message
    assert "canary" not in f"{caught.value}{records}"


def test_text_and_conversations_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "b.jsonl").write_bytes(chat("user", "assistant"))
    sets = [(Dataset(id=f"./{name}"), tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(JobError, match=r"\./a.jsonl is plain text, \./b.jsonl is messages") as caught:
        prepare(sets, seed=1, system=None, out=tmp_path / "out")
    assert caught.value.code == 65


@pytest.mark.slow
def test_a_csv_made_to_be_read_again_and_again_ends_soon(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text,n\n" + b'x","\n' * 500_000)
    with pytest.raises(JobError) as caught:
        prepare([(Dataset(id="./a.csv"), tmp_path / "a.csv")], seed=1, system=None, out=tmp_path / "out")
    assert caught.value.code == 65
