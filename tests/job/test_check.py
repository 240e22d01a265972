"""`job check` without a network: what is here is looked at, and refused as a run would refuse it."""

import json
from pathlib import Path
from typing import Any

import pytest

from job import logs
from job.check import seen_here
from job.dataset import scan
from job.errors import DataInvalid, IntegrityViolated, JobError, NotFound, SpecInvalid
from job.spec import JobSpec
from tests.job.fetch.models import GOOD


@pytest.fixture(autouse=True)
def quiet_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure(to_stdout=False)
    monkeypatch.chdir(tmp_path)


def seen(dataset: Any = "rows.csv", model: str = "owner/name", **sections: Any) -> list[str]:
    data = dataset if isinstance(dataset, dict) else {"id": dataset}
    return list(seen_here(JobSpec.model_validate({"model": {"id": model}, "dataset": data} | sections)))


def test_a_file_is_read_as_a_run_would_read_it() -> None:
    Path("rows.csv").write_text("prompt;completion\n" + "".join(f"q{n};a{n}\n" for n in range(200)) + "alone\n")
    said = "\n".join(seen())
    assert "rows.csv: 200 rows; 1 broken: rows.csv, line 202: the row has 1 fields, but the header has 2" in said
    assert "read as prompt_completion (prompt, completion)" in said
    assert "not looked at: owner/name; --access asks" in said


def test_only_the_beginning_of_a_large_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_ROWS", 50)
    Path("rows.jsonl").write_text('{"text": "x"}\n' * 100 + "broken\n" * 100)
    assert "rows.jsonl: 50 rows read, and there are more" in seen("rows.jsonl")


def test_a_limit_ends_the_reading_as_in_a_run() -> None:
    Path("rows.jsonl").write_text('{"text": "x"}\n' * 100)
    assert "rows.jsonl: 7 rows" in seen({"id": "rows.jsonl", "limit": 7})


CSV = "prompt,completion\nq,a\n"
FAULTS = [
    ({"id": "none.csv"}, CSV, NotFound, "none.csv does not exist"),
    ({"id": "rows.csv", "columns": {"prompt": "x", "completion": "y"}}, CSV, DataInvalid, "there is no column 'x'"),
    ({"id": "rows.csv", "text": "x"}, CSV, DataInvalid, "there is no column 'x'"),
    ({"id": "rows.csv"}, CSV + "broken\n", DataInvalid, "1 of 2 rows are broken"),
    ({"id": "rows.csv"}, CSV + "\xfe\xff,b\n", DataInvalid, "iconv -f WINDOWS-1250 -t UTF-8"),
    ({"id": "rows.csv"}, "pr\xff,b\n1,2\n", DataInvalid, "iconv -f WINDOWS-1250 -t UTF-8"),
    ({"id": "rows.csv", "eval_split": "test"}, CSV, DataInvalid, "is one file, which has no splits"),
    ({"id": "rows.csv"}, "", DataInvalid, "has no rows"),
    ({"id": "rows.csv"}, "a,b,c\nx,y,z\n", DataInvalid, "it is unclear how to read a row"),
]


@pytest.mark.parametrize(("dataset", "text", "kind", "words"), FAULTS, ids=lambda value: str(value)[:40])
def test_what_a_run_would_refuse_is_refused(dataset: Any, text: str, kind: type[JobError], words: str) -> None:
    Path("rows.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(kind) as refusal:
        seen(dataset)
    assert words in str(refusal.value)


def test_a_tsv_file_may_have_semicolons() -> None:
    Path("rows.tsv").write_text("prompt;completion\nq;a\n")
    assert "rows.tsv: 1 row" in seen("rows.tsv")


def test_a_model_that_is_not_here_and_rows_that_are_not_here_are_told_at_once() -> None:
    with pytest.raises(NotFound) as refusal:
        seen("none.csv", "./no-model")
    said = str(refusal.value)
    assert "./no-model does not exist" in said and said.count("none.csv does not exist") == 1


def test_a_folder_that_is_not_a_model_is_refused() -> None:
    Path("model").mkdir()
    with pytest.raises(NotFound, match="no safetensors"):
        seen(csv_here(), "./model")


def test_a_model_with_code_is_refused() -> None:
    Path("model").mkdir()
    for name, content in GOOD.items():
        Path("model", name).write_bytes(content)
    assert "./model: model of 0.00 GB" in seen(csv_here(), "./model")
    assert "overflows" not in " ".join(seen(csv_here(), "./model"))
    Path("model/config.json").write_text(json.dumps({"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"]}))
    assert "gpt_oss overflows in float16" in " ".join(seen(csv_here(), "./model"))
    Path("model/config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoModel": "code.Model"}}))
    with pytest.raises(IntegrityViolated):
        seen(csv_here(), "./model")


def test_an_importance_matrix_that_is_none_is_refused() -> None:
    Path("matrix.dat").write_text("no")
    with pytest.raises(SpecInvalid, match="not an importance matrix"):
        seen(csv_here(), export={"imatrix": "matrix.dat"})


def test_a_text_to_evaluate_on_is_looked_at_too() -> None:
    with pytest.raises(NotFound, match=r"wiki\.txt"):
        seen(csv_here(), evaluation={"text": {"id": "wiki.txt"}})
    Path("wiki.txt").write_text("words\n")
    assert "wiki.txt: readable" in seen(csv_here(), evaluation={"text": {"id": "wiki.txt"}})


def test_cases_are_read_to_their_end() -> None:
    asked = {"tasks": {"id": "cases.jsonl"}}
    Path("cases.jsonl").write_text('{"prompt": "2 + 2?", "expected": "4"}\n')
    assert "cases.jsonl: 1 case" in seen(csv_here(), evaluation=asked)
    Path("cases.jsonl").write_text('{"prompt": "2 + 2?", "expected": "4"}\n{"prompt": "2 + 3?"}\n')
    with pytest.raises(DataInvalid, match=r"cases\.jsonl, line 2: `expected` is missing"):
        seen(csv_here(), evaluation=asked)


def csv_here() -> str:
    Path("rows.csv").write_text(CSV)
    return "rows.csv"
