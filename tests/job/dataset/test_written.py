"""dataset.template: prompts, completions, texts and turns that are written from any columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.chat import rendering
from job.dataset import Prepared, prepare
from job.errors import DataInvalid, JobError, SpecInvalid
from job.spec import JobSpec
from job.spec.sections import Dataset

SQUAD = {"context": "Rome is old.", "question": "What is old?", "answers": {"text": ["Rome", "Roma"]}, "n": 3}
PAIR = {"prompt": "{{ context }}\n{{ question }} ", "completion": "{{ answers.text | join('; ') }}"}


def written(folder: Path, rows: list[dict[str, Any]], template: dict[str, str], **options: Any) -> Prepared:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = Dataset(id=str(path), template=template, eval_fraction=0, **options)
    return prepare([(dataset, path)], seed=1, system=None, out=folder / "out")


def rows_in(prepared: Prepared) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in prepared.train.read_text().splitlines()]
    return [{name: held for name, held in row.items() if name != "source"} for row in rows]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PAIR, {"prompt": "Rome is old.\nWhat is old? ", "completion": "Rome; Roma"}),
        ({"text": "{{ row['question'] }} {{ n }}"}, {"text": "What is old? 3"}),
        (
            {
                "messages": '[{"role": "user", "content": {{ question | tojson }}},'
                ' {"role": "assistant", "content": {{ answers.text[0] | tojson }}}]',
                "system": "{{ context }}",
            },
            {
                "messages": [
                    {"role": "system", "content": "Rome is old."},
                    {"role": "user", "content": "What is old?"},
                    {"role": "assistant", "content": "Rome"},
                ]
            },
        ),
        ({"instruction": "{{ question }}", "output": "<{{ answers.text[1] }}>"}, {
            "messages": [{"role": "user", "content": "What is old?"}, {"role": "assistant", "content": "<Roma>"}]
        }),
    ],
)  # fmt: skip
def test_columns_are_written_from_others(tmp_path: Path, template: dict[str, str], expected: dict[str, Any]) -> None:
    assert rows_in(written(tmp_path, [SQUAD], template)) == [expected]


def test_a_parquet_file_is_read_for_the_columns_that_the_templates_name(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist([SQUAD | {"image": b"1"}] * 2), path)
    dataset = Dataset(id=str(path), template=PAIR, eval_fraction=0)
    prepared = prepare([(dataset, path)], seed=1, system=None, out=tmp_path / "out")
    assert rows_in(prepared)[0]["completion"] == "Rome; Roma"
    assert set(prepared.left_out[str(path)]) == {"image", "n"}


def test_a_column_that_no_row_has_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"completion uses reply, which is not a column.*'context', 'question'"):
        written(tmp_path, [SQUAD], PAIR | {"completion": "{{ reply }}"})


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"question": "Who?"}, "'context' is undefined"),
        (SQUAD | {"question": None}, "it writes null"),
        (SQUAD | {"question": ["a"]}, "it writes a list"),
        (SQUAD | {"question": True}, "it writes a boolean"),
        (SQUAD | {"answers": {}}, "has no attribute 'text'"),
    ],
)
def test_what_cannot_be_written_makes_its_row_broken(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    prepared = written(tmp_path, [SQUAD, row], PAIR, max_broken=0.5)
    assert (prepared.rows, prepared.broken) == (1, 1)
    with pytest.raises(DataInvalid, match=f"line 2: dataset.template.[a-z]*: .*{why}"):
        written(tmp_path, [SQUAD, row], PAIR)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ({"text": "{% if %}"}, "dataset.template.text: not a Jinja template"),
        ({"text": "{{ row.__class__.__mro__ }}"}, "unsafe"),
        ({"question": "{{ question }}"}, "no format expects a column 'question'"),
        ({"prompt": "{{ question }}"}, "it is unclear how to read a row"),
    ],
)
def test_a_template_that_is_none_says_so(tmp_path: Path, template: dict[str, str], why: str) -> None:
    with pytest.raises(JobError, match=why) as raised:
        written(tmp_path, [SQUAD], template)
    assert raised.value.code in (64, 65)


def test_a_template_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1.0)
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(SpecInvalid, match=r"dataset\.template: to render the rows, it"):
        written(tmp_path, [SQUAD], {"text": endless})


def test_columns_are_either_renamed_or_written() -> None:
    given = {"id": "./rows.jsonl", "template": PAIR, "columns": {"prompt": "question"}}
    with pytest.raises(ValueError, match="writes the columns itself"):
        JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": given})
