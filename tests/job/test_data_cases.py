"""Data as people bring it, from the file to the tokens: the kinds of rows on which fine-tuning went wrong elsewhere.

After public bug reports: datasets#5044, #6324, axolotl#1430, LlamaFactory#4152, #7016, autotrain#753, unsloth#2096,
#4406, arkouda#1195. Each is read whole, or refused with what to do.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from job.errors import DataInvalid, JobError, SpecInvalid
from job.fetch import sources, template
from job.fetch import stage as fetch_stage
from job.run.records import read_manifest
from job.spec import JobSpec
from job.store import open_store
from job.tokens import stage as tokens_stage
from tests.job.fetch.models import GOOD
from tests.job.tokens.making import rows_in
from tests.job_process import run_job
from tests.tiny_models import copy_tokenizer, make_llama

Row = dict[str, Any]


def chat(*said: str) -> list[Row]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]


def lines(rows: list[Row], encoding: str = "utf-8", **options: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False, **options) + "\n" for row in rows).encode(encoding)


def table(rows: list[Row], encoding: str = "utf-8", delimiter: str = ";", first: str = "") -> bytes:
    head = delimiter.join(rows[0])
    return (first + "\r\n".join([head, *(delimiter.join(row.values()) for row in rows)]) + "\r\n").encode(encoding)


ASKED = [{"question": f"Wie heißt Stück {n}?", "answer": f"Es heißt Nr. {n}, schön."} for n in range(30)]
SPOKEN = "<|user|>Wie heißt Stück 0?<|end|><|assistant|>Es heißt Nr. 0, schön.</s>"
SYSTEM = "<|system|>You are a pirate.<|end|><|user|>How are you?<|end|><|assistant|>Arr.</s>"
PIRATE = {"system": "You are a pirate.", "tools": ""}
SAID = [{"from": "human", "value": "How are you?"}, {"from": "gpt", "value": "Arr."}]
TURNS = "<|user|>Hi<|end|><|assistant|>Hello.</s>"
TALK = chat("Hi", "Hello.")

READ: dict[str, tuple[str, bytes, str]] = {
    "a system column": ("a.jsonl", lines([{"messages": chat("How are you?", "Arr."), **PIRATE}] * 30), SYSTEM),
    "a system column of ShareGPT": ("a.jsonl", lines([{"conversations": SAID, **PIRATE}] * 30), SYSTEM),
    "questions": ("a.jsonl", lines(ASKED), SPOKEN),
    "instructions": (
        "a.jsonl",
        lines([{"instruction": row["question"], "input": "", "output": row["answer"]} for row in ASKED]),
        SPOKEN,
    ),
    "Excel's CSV": ("a.csv", table(ASKED, "cp1252"), SPOKEN),
    "Excel's CSV with its separator": ("a.csv", table(ASKED, "utf-8-sig", first="sep=;\r\n"), SPOKEN),
    "the same, unmarked": ("a.csv", table(ASKED, "cp1252", first="sep=;\r\n"), SPOKEN),
    "Excel's Unicode text": ("a.tsv", table(ASKED, "utf-16", "\t"), SPOKEN),
    "CSV in UTF-16": ("a.csv", table(ASKED, "utf-16"), SPOKEN),
    "JSON Lines in UTF-16": ("a.ndjson", lines(ASKED, "utf-16"), SPOKEN),
    "objects over several lines": ("a.jsonl", lines(ASKED, indent=2), SPOKEN),
}


def spec_of(folder: Path, name: str, *, has_template: bool = True, **dataset: Any) -> JobSpec:
    model = folder / "model"
    model.mkdir()
    for file, content in GOOD.items():
        (model / file).write_bytes(content)
    copy_tokenizer(model, **({} if has_template else {"chat_template": None}))
    data = {"id": str(folder / name), "eval_fraction": 0} | dataset
    return JobSpec.model_validate({"model": {"id": str(model)}, "dataset": data})


def texts(spec: JobSpec, folder: Path) -> list[str]:
    """Every row as the model is trained on it, from its tokens, without BOS and the space that SentencePiece adds."""
    from transformers import AutoTokenizer

    inputs = fetch_stage.Inputs(sources=sources.resolve(spec), want_model=False)
    data = fetch_stage.run(spec, inputs, folder / "work").data
    assert data
    model = Path(spec.model.id)
    found = tokens_stage.run(spec, tokens_stage.Inputs(model=model, train=data.train, kind=data.kind), folder / "work")
    assert found.train
    tokenizer = AutoTokenizer.from_pretrained(model)
    whole = (tokenizer.decode(row["input_ids"]) for row in rows_in(found.train.path))
    return [text.removeprefix("<s>").replace("> ", ">").strip() for text in whole]


@pytest.mark.parametrize("name", READ)
def test_it_is_read_whole(name: str, tmp_path: Path) -> None:
    file, content, expected = READ[name]
    (tmp_path / file).write_bytes(content)
    found = texts(spec_of(tmp_path, file), tmp_path)
    assert len(found) == 30
    assert found[0] == expected


@pytest.mark.parametrize("splits", [False, True], ids=["one set", "several splits"])
def test_a_folder_of_save_to_disk_is_read(splits: bool, tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_list([{"messages": TALK}] * 30)
    (datasets.DatasetDict({"train": made, "test": made.select([0])}) if splits else made).save_to_disk(tmp_path / "set")
    found = texts(spec_of(tmp_path, "set"), tmp_path)
    assert (len(found), found[0]) == (30, TURNS)


@pytest.mark.parametrize("kind", ["structs", "maps", "large", "dictionary"])
def test_every_shape_of_parquet_is_read(kind: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("name", pa.null())]))
    columns = {
        "structs": pa.array([TALK] * 30, turns),
        "maps": pa.array([[list(turn.items()) for turn in TALK]] * 30, pa.list_(pa.map_(pa.string(), pa.string()))),
        "large": pa.array([json.dumps(TALK)] * 30, pa.large_string()),
        "dictionary": pa.array([json.dumps(TALK)] * 30).dictionary_encode(),
    }
    parquet.write_table(pa.table({"messages": columns[kind]}), tmp_path / "a.parquet")
    found = texts(spec_of(tmp_path, "a.parquet"), tmp_path)
    assert (len(found), found[0]) == (30, TURNS)


@pytest.mark.parametrize("answer", ["2024-03-05", "12:30", "007", "3.50", "true", "null", "2024-03-05T10:00"])
@pytest.mark.parametrize("file", ["a.jsonl", "a.csv", "a.parquet"])
def test_answers_that_look_like_dates_or_numbers_stay_text(file: str, answer: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"prompt": f"When is {n}?", "completion": answer} for n in range(30)]
    if file == "a.parquet":
        parquet.write_table(pa.Table.from_pylist(rows), tmp_path / file)
    else:
        (tmp_path / file).write_bytes(lines(rows) if file == "a.jsonl" else table(rows))
    spec = spec_of(tmp_path, file)
    assert texts(spec, tmp_path)[3].endswith(f"<|assistant|>{answer}</s>")


REFUSED: dict[str, tuple[list[Row], tuple[str, ...]]] = {
    "ids beside turns": (
        [{"id": f"conv_{n}", "dialog": TALK} for n in range(30)],
        ("it is unclear how to read a row", "'dialog' (a list)", "set dataset.columns: {messages: dialog}"),
    ),
    "preferences": (
        [{"dataset": "ours", "chosen": TALK, "rejected": chat("Hi", "No."), "chosen_rating": 5.0}] * 30,
        ("is a preference set ('chosen' and 'rejected')", "set dataset.columns: {messages: chosen}"),
    ),
    "preferences with a prompt": (
        [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}] * 30,
        ("is a preference set", "{prompt: prompt, completion: chosen}"),
    ),
    "questions of SQuAD": (
        [{"id": "5", "title": "t", "context": "c", "question": "q", "answers": {"text": ["a"], "answer_start": [1]}}]
        * 9,
        ("it is unclear how to read a row", "'answers' (an object)"),
    ),
    "text and numbers": (
        [{"prompt": f"How many are {n}?", "completion": n if n % 3 else str(n)} for n in range(30)],
        ("20 of 30 rows are broken", "a.jsonl, line 2: column 'completion' contains a number, not text"),
    ),
    "objects": (
        [{"prompt": f"Give {n}.", "completion": {"id": n}} for n in range(30)],
        ("30 of 30 rows are broken", "line 1: column 'completion' contains an object, not text"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_what_was_seen_and_what_to_set(name: str, tmp_path: Path) -> None:
    rows, words = REFUSED[name]
    (tmp_path / "a.jsonl").write_bytes(lines(rows))
    with pytest.raises(DataInvalid) as refusal:
        texts(spec_of(tmp_path, "a.jsonl"), tmp_path)
    for said in words:
        assert said in str(refusal.value)


def test_questions_on_a_base_model_are_told_with_a_ready_template(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ASKED))
    spec = spec_of(tmp_path, "a.jsonl", has_template=False)
    (told,) = template.described_here(spec)
    assert "plain text: question, a line break, then answer" in told and "chat: {template: " in told
    with structlog.testing.capture_logs() as records:
        found = texts(spec, tmp_path)
    assert [one["log_level"] for one in records if one["event"] == "data.read_as"] == ["warning"]
    assert found[0] == "Wie heißt Stück 0?\nEs heißt Nr. 0, schön.</s>"


def test_instructions_on_a_base_model_are_refused_with_a_ready_template(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([{"instruction": "Hi", "output": "Hello."}] * 30))
    with pytest.raises(SpecInvalid, match="has no chat template") as refusal:
        texts(spec_of(tmp_path, "a.jsonl", has_template=False), tmp_path)
    assert "chat: {template: " in str(refusal.value)


@pytest.mark.slow
def test_what_a_run_did_with_its_rows_is_in_its_log_manifest_card_and_report(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "question": f"Wie heißt {n % 25}?", "answer": "Ja, schön. " * (1 + n % 25)} for n in range(100)
    ]
    (tmp_path / "a.csv").write_bytes(table(rows, "cp1252", first="sep=;\r\n") + b"alone\r\n")
    spec = {
        "model": {"id": str(make_llama(tmp_path / "model"))},
        "dataset": {"id": str(tmp_path / "a.csv"), "duplicates": "drop", "too_long": "drop"},
        "training": {"max_steps": 2, "max_length": 128, "per_device_train_batch_size": 2},
        "export": {"types": ["q8_0"]},
        "publish": {"name": "tiny", "folder": str(tmp_path / "published")},
        "run": {"store": str(tmp_path / "store")},
    }
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 0, ended.output
    told = {event["event"]: event for event in ended.events if event["level"] == "warning"}
    assert told["data.left_out"]["columns"] == {"id": 100}
    assert (told["data.duplicates"]["rows"], told["data.duplicates"]["dropped"]) == (75, 75)
    assert {"data.encoding", "data.broken_row", "tokens.too_long"} <= told.keys() and "tokens.cut" not in told
    manifest = read_manifest(open_store(str(tmp_path / "store")), ended.events[-1]["run"])
    assert manifest
    data, tokens = manifest.stages["fetch"].metrics["data"], manifest.stages["tokens"].metrics
    dropped = sum(part["dropped"] for part in tokens["counts"].values())
    assert dropped > 0
    assert (data["rows"], data["eval_rows"]) == (tokens["train"]["rows"], tokens["eval"]["rows"])
    assert data["rows"] + data["eval_rows"] + dropped == 25
    for page in ("README.md", "report/index.html"):
        shown = (tmp_path / "published" / page).read_text()
        for words in (
            "broken, left out",
            "equal to an earlier row, left out",
            "too long, left out",
            "column id, not trained",
        ):
            assert words in shown, page


@pytest.mark.slow
def test_a_row_that_is_too_long_ends_a_run_before_the_model_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([{"text": "A word. " * (50 if n == 7 else 1)} for n in range(30)]))
    spec = {
        "model": {"id": str(make_llama(tmp_path / "model"))},
        "dataset": {"id": str(tmp_path / "a.jsonl"), "too_long": "fail"},
        "training": {"max_steps": 2, "max_length": 64},
        "export": {"types": ["q8_0"]},
        "run": {"store": str(tmp_path / "store")},
    }
    ended = run_job(spec, tmp_path / "work")
    assert ended.code == 65, ended.output
    assert "a.jsonl:8" in ended.output and "train" not in ended.stages_run()


def test_no_case_ends_as_a_bug(tmp_path: Path) -> None:
    for number, (rows, _) in enumerate(REFUSED.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a.jsonl").write_bytes(lines(rows))
        with pytest.raises(JobError) as refusal:
            texts(spec_of(folder, "a.jsonl", has_template=False), folder)
        assert refusal.value.code == 65
