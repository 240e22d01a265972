"""What holds for every file, good or hostile."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from job.dataset import prepare
from job.dataset.readers import read_rows
from job.dataset.rows import Broken
from job.errors import JobError
from job.spec.sections import Dataset

SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
marks = st.sampled_from(
    [b'{"text": "a"}', b"\n", b"\r\n", b'"', b",", b"[", b"]", b"{", b"}", b":", b"\\", b"\xff", b"\xef\xbb\xbf", b"\0",
     b"text,n", b'"text"', b"null", b"1e999", b"NaN", b'"\\ud800"', b"\x1f\x8b", b"PAR1", b" ", b"\xc3", b"\xa9"]
)  # fmt: skip
turns = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant", "system", "tool"]) | values, "content": values}
    )
    | values,
    max_size=4,
)


@pytest.mark.slow
@SETTINGS
@given(
    content=st.lists(marks, max_size=40).map(b"".join) | st.binary(max_size=200),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.parquet", "a"]),
    compressed=st.booleans(),
)
def test_no_file_crashes_a_reader(tmp_path: Path, content: bytes, name: str, compressed: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if compressed else content)
    try:
        found = list(read_rows(path))
    except JobError as error:
        assert error.code == 65
        return
    last = 0
    for line, row in found:
        assert line > last and isinstance(row, dict | Broken)
        last = line if name != "a.json" and name != "a" else last
    assert len(found) <= len(content)


@pytest.mark.slow
@SETTINGS
@given(
    st.lists(
        st.fixed_dictionaries({"messages": turns | values}) | st.fixed_dictionaries({"text": values}) | values,
        min_size=1,
    )
)
def test_whatever_the_rows_hold_the_result_is_whole_or_exit_code_65(tmp_path: Path, rows: list[Any]) -> None:
    rows = [{"id": 1}, *rows]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    dataset = Dataset(id="./a.jsonl", max_broken=0.99)
    try:
        prepared = prepare([(dataset, tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")
    except JobError as error:
        assert error.code == 65
        return
    files = [prepared.train, *([prepared.eval] if prepared.eval else [])]
    made = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
    assert len(made) + prepared.broken == len(rows)
    for row in made:
        assert set(row) <= {"text", "messages", "source"}
        for turn in row.get("messages", []):
            assert set(turn) == {"role", "content"} and isinstance(turn["content"], str)


@pytest.mark.slow
@SETTINGS
@given(st.lists(texts, min_size=1, max_size=20))
def test_json_lines_go_through_unchanged(tmp_path: Path, rows: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    dataset = Dataset(id="./a.jsonl", eval_fraction=0)
    prepared = prepare([(dataset, tmp_path / "a.jsonl")], seed=1, system=None, out=tmp_path / "out")
    assert [json.loads(line)["text"] for line in prepared.train.read_text().splitlines()] == rows


@pytest.mark.slow
@SETTINGS
@given(rows=st.lists(values, max_size=12), indent=st.sampled_from([None, 0, 3]), wrapped=st.booleans())
def test_a_json_document_gives_the_rows_that_a_parser_of_the_whole_gives(
    tmp_path: Path, rows: list[Any], indent: int | None, wrapped: bool
) -> None:
    rows = [{"text": "first"}, *rows]
    document = {"n": 1, "tags": ["x"], "rows": rows} if wrapped else rows
    text = json.dumps(document, indent=indent)
    (tmp_path / "a.json").write_text(text)
    found = [row if isinstance(row, dict) else None for _, row in read_rows(tmp_path / "a.json")]
    expected = [row if isinstance(row, dict) else None for row in json.loads(text)["rows" if wrapped else slice(None)]]
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.slow
@SETTINGS
@given(
    rows=st.lists(st.tuples(texts, texts), min_size=1, max_size=10),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_csv_goes_through_unchanged(tmp_path: Path, rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("prompt", "completion"), *rows])
    (tmp_path / "a.csv").write_bytes(out.getvalue().encode())
    found = [(row["prompt"], row["completion"]) for _, row in read_rows(tmp_path / "a.csv") if isinstance(row, dict)]
    assert found == rows


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_json_list_that_does_not_fit_the_window_is_read_the_same(
    tmp_path: Path, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from job.dataset import json_document

    rows = [{"text": f'é🙂 "quoted" \\ {n}', "n": n, "t": True, "x": [None, 1.5e-7]} for n in range(40)]
    (tmp_path / "a.json").write_text(json.dumps(rows, ensure_ascii=cut % 2 == 0))
    monkeypatch.setattr(json_document, "_CHUNK", 5 + cut)
    assert [row for _, row in read_rows(tmp_path / "a.json")] == rows
