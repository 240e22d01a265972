"""How rows are read is found from their columns only if nothing of them would be lost unseen."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import structlog.testing

from job.dataset import Prepared, prepare
from job.dataset.layouts import _FINDERS, EXPECTED, Format
from job.dataset.normalize import _TURNS
from job.errors import DataInvalid
from job.spec.sections import Dataset
from tests.job.dataset.written import as_parquet

ASKED, ANSWERED = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CHAT = [ASKED, ANSWERED]
WORSE = [ASKED, {"role": "assistant", "content": "No."}]
SAID = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def test_every_layout_of_the_spec_has_columns_a_finder_and_a_way_to_become_rows() -> None:
    named = set(get_args(Dataset.model_fields["format"].annotation)) - {"auto"}
    assert named == set(get_args(Format)) == set(EXPECTED) == set(_FINDERS)
    assert named - {"text"} == set(_TURNS)  # plain text is not a conversation


def read(folder: Path, row: dict[str, Any], count: int = 20, *, chat: bool = True, **options: Any) -> Prepared:
    (folder / "rows.jsonl").write_text(f"{json.dumps(row)}\n" * count)
    dataset = Dataset(id="rows.jsonl", eval_fraction=0, **options)
    return prepare([(dataset, folder / "rows.jsonl")], seed=1, system=None, out=folder / "out", has_template=chat)


def first(prepared: Prepared) -> Any:
    row = json.loads(prepared.train.read_text().splitlines()[0])
    return row if "messages" not in row else [(turn["role"], turn["content"]) for turn in row["messages"]]


UNCLEAR: dict[str, tuple[dict[str, Any], str]] = {
    "turns of another name": ({"id": "c_1", "dialog": CHAT}, "set dataset.columns: {messages: dialog}"),
    "turns as JSON": ({"id": "c_1", "chat": json.dumps(CHAT)}, "set dataset.columns: {messages: chat}"),
    "turns in ShareGPT's form": ({"id": "c_1", "items": SAID}, "set dataset.columns: {messages: items}"),
    "SQuAD": ({"title": "a", "context": "b", "question": "c", "answers": {"text": ["d"]}}, "'answers' (an object)"),
    "SQuAD without its context": ({"id": 1, "question": "c", "answers": {"text": ["d"]}}, "'question' (text)"),
    "a question and its choices": ({"question": "a", "choices": ["b", "c"], "answer": "b"}, "'choices' (a list)"),
    "answers in a list": ({"prompt": "a", "completions": ["b", "c"]}, "'completions' (a list)"),
    "one text beside a list": ({"body": "a", "tags": ["x"]}, "'tags' (a list)"),
    "one text beside an object": ({"body": "a", "meta": {"n": 1}}, "'meta' (an object)"),
    "one turn a row": ({"conversation_id": 4, "role": "user", "content": "a"}, "'role' (text)"),
    "a prompt alone": ({"prompt": "a", "n": 3}, "'prompt' (text)"),
    "a text and its answer": ({"text": "a", "answer": "b"}, "'answer' (text)"),
    "reasoning that would be lost": ({"question": "a", "reasoning": "b", "answer": "c"}, "'reasoning' (text)"),
    "two that ask": ({"question": "a", "prompt": "b", "answer": "c"}, "'question' (text)"),
    "two that answer": ({"problem": "a", "solution": "b", "answer": "c"}, "'solution' (text)"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_nothing_is_guessed_if_a_column_with_content_would_be_lost(name: str, tmp_path: Path) -> None:
    row, words = UNCLEAR[name]
    with pytest.raises(DataInvalid, match="it is unclear how to read a row") as refusal:
        read(tmp_path, row)
    assert words in str(refusal.value)


@pytest.mark.parametrize("kind", ["binary", "timestamp[us]", "list<element: binary>"])
def test_columns_that_cannot_be_read_count_too(kind: str, tmp_path: Path) -> None:
    import datetime

    values = {"binary": b"x", "timestamp[us]": datetime.datetime(2024, 3, 5), "list<element: binary>": [b"x"]}
    path = tmp_path / "rows.parquet"
    path.write_bytes(as_parquet([{"prompt": "a", "completion": values[kind]}] * 9))
    with pytest.raises(DataInvalid) as refusal:
        prepare([(Dataset(id="rows.parquet"), path)], seed=1, system=None, out=tmp_path / "out")
    assert f"column 'completion' contains '{kind}', not text" in str(refusal.value)
    assert "rows['completion'] = rows['completion']" in str(refusal.value)
    path.write_bytes(as_parquet([{"prompt": "a", "picture": values["binary"]}] * 9))
    with pytest.raises(DataInvalid, match=r"'picture' \('binary'\)"):
        prepare([(Dataset(id="rows.parquet"), path)], seed=1, system=None, out=tmp_path / "out")


def test_nor_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(as_parquet([{"id": "c", "dialog": None}] * 200 + [{"id": "c", "dialog": CHAT}] * 200))
    with pytest.raises(DataInvalid, match="column 'dialog' holds a list beside 'id'"):
        prepare([(Dataset(id="rows.parquet"), path)], seed=1, system=None, out=tmp_path / "out")


@pytest.mark.parametrize("early", [{"id": "c"}, {"id": "c", "dialog": None}, {"id": "c", "dialog": []}])
def test_content_that_comes_after_the_first_rows_is_not_lost_either(early: dict[str, Any], tmp_path: Path) -> None:
    rows = [early] * 25 + [{"id": "c", "dialog": CHAT}] * 25
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataInvalid, match=r"25 of 50 rows are broken .* column 'dialog' holds a list beside 'id'"):
        prepare([(Dataset(id="rows.jsonl"), tmp_path / "rows.jsonl")], seed=1, system=None, out=tmp_path / "out")


def test_a_picture_is_not_text_and_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(as_parquet([{"text": "a", "image": {"bytes": b"x", "path": "x.png"}}] * 9))
    prepared = prepare([(Dataset(id="rows.parquet"), path)], seed=1, system=None, out=tmp_path / "out")
    assert prepared.left_out == {"rows.parquet": {"image": 9}}


CONVERSATIONS: dict[str, dict[str, Any]] = {
    "a question and an answer": {"question": "Hi", "answer": "Hello"},
    "in capitals": {"Question": "Hi", " Answer ": "Hello"},
    "a problem and its solution": {"problem": "Hi", "solution": "Hello", "level": 3},
    "a prompt and an answer": {"prompt": "Hi", "answer": "Hello"},
    "a question and a response": {"id": "q1", "question": "Hi", "response": "Hello"},
    "in short": {"q": "Hi", "a": "Hello"},
    "a request and its reply": {"request": "Hi", "reply": "Hello"},
    "who speaks": {"user": "Hi", "assistant": "Hello"},
    "who speaks, of ShareGPT": {"human": "Hi", "gpt": "Hello"},
    "an instruction and its response": {"instruction": "Hi", "response": "Hello"},
    "an instruction and its answer": {"Instruction": "Hi", "Answer": "Hello"},
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_pair_of_columns_that_asks_and_answers_becomes_a_conversation(name: str, tmp_path: Path) -> None:
    assert first(read(tmp_path, CONVERSATIONS[name])) == [("user", "Hi"), ("assistant", "Hello")]


SYSTEM: dict[str, dict[str, Any]] = {
    "messages": {"messages": CHAT},
    "sharegpt": {"conversations": SAID, "tools": ""},
    "alpaca": {"instruction": "Hi", "output": "Hello"},
    "a pair": {"question": "Hi", "response": "Hello"},
    "prompt and completion": {"prompt": "Hi", "completion": "Hello"},
    "turns that say it too": {"messages": [{"role": "system", "content": "Be brief."}, *CHAT]},
}


@pytest.mark.parametrize("column", ["system", "system_prompt"])
@pytest.mark.parametrize("name", SYSTEM)
def test_a_column_of_system_prompts_becomes_the_system_turn(name: str, column: str, tmp_path: Path) -> None:
    expected = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]
    assert first(read(tmp_path, SYSTEM[name] | {column: "Be brief."})) == expected
    assert first(read(tmp_path, SYSTEM[name] | {column: ""}))[-2:] == expected[1:]


PAIR = {"q": "Hi", "a": "Hello", "s": "Be brief.", "f": [{"name": "call"}]}


@pytest.mark.parametrize("pair", [("prompt", "completion"), ("instruction", "output")])
@pytest.mark.parametrize("option", ["columns", "template"])
def test_what_the_spec_names_beside_a_pair_is_trained(option: str, pair: tuple[str, str], tmp_path: Path) -> None:
    named = dict(zip((*pair, "system", "tools"), PAIR, strict=True))
    if option == "template":
        named = {name: f"{{{{ {column}{' | tojson' if column == 'f' else ''} }}}}" for name, column in named.items()}
    found = read(tmp_path, PAIR, **{option: named})
    assert first(found) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello")]
    assert json.loads(found.train.read_text().splitlines()[0])["tools"][0]["function"] == {"name": "call"}
    assert found.left_out == {}


@pytest.mark.parametrize("system", [{}, {"system": "Be brief."}], ids=str)
def test_tools_beside_a_prompt_and_its_completion_are_trained(system: dict[str, str], tmp_path: Path) -> None:
    found = read(tmp_path, {"prompt": "Hi", "completion": "Hello", "tools": PAIR["f"]} | system)
    assert "tools" in found.train.read_text() and found.left_out == {}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"format": "text", "columns": {"messages": "dialog"}}, "messages"),
        ({"format": "text", "columns": {"system": "s"}}, "system"),
        ({"format": "messages", "columns": {"messages": "dialog", "output": "text"}}, "output"),
        ({"format": "messages", "template": {"messages": "{{ dialog | tojson }}", "text": "{{ s }}"}}, "text"),
    ],
    ids=str,
)
def test_a_column_that_the_format_does_not_read_is_refused(options: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match=f"have no {name}: it would not be trained"):
        read(tmp_path, {"text": "A saying.", "dialog": CHAT, "s": "Be brief."}, **options)


def test_two_system_prompts_break_a_row(tmp_path: Path) -> None:
    row = {"messages": [{"role": "system", "content": "Be long."}, *CHAT], "system": "Be brief."}
    with pytest.raises(DataInvalid, match="column 'system' and the first turn are two system prompts"):
        read(tmp_path, row)


PREFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "conversations": ({"source": "x", "chosen": CHAT, "rejected": WORSE, "rating": 5.0}, "{messages: chosen}"),
    "with its prompt": ({"prompt": "Hi", "chosen": CHAT, "rejected": WORSE}, "{messages: chosen}"),
    "texts": ({"prompt": "Hi", "chosen": "Hello", "rejected": "No."}, "{prompt: prompt, completion: chosen}"),
    "answers as turns": (
        {"prompt": [ASKED], "chosen": CHAT[1:], "rejected": WORSE[1:]},
        "{prompt: prompt, completion: chosen}",
    ),
    "whole texts": ({"chosen": "Human: Hi", "rejected": "Human: Ho"}, "dataset.text: chosen"),
    "of a reward model": (
        {"question": "Hi", "response_j": "Hello", "response_k": "No."},
        "{prompt: question, completion: response_j}",
    ),
    "of LLaMA-Factory": (
        {"conversations": SAID[:1], "chosen": SAID[1], "rejected": {"from": "gpt", "value": "No."}},
        "write each conversation with its better answer",
    ),
}


@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference_set_is_named_as_such_and_told_how_to_take_the_better_answers(name: str, tmp_path: Path) -> None:
    row, words = PREFERENCES[name]
    with pytest.raises(DataInvalid, match="is a preference set") as refusal:
        read(tmp_path, row)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ({"prompt": "Hi", "chosen": CHAT, "rejected": WORSE}, {"columns": {"messages": "chosen"}}),
        (
            {"prompt": "Hi", "chosen": "Hello", "rejected": "No."},
            {"columns": {"prompt": "prompt", "completion": "chosen"}},
        ),
        ({"prompt": "Hi", "chosen": CHAT, "rejected": WORSE, "messages": CHAT}, {}),
    ],
)
def test_what_the_message_says_to_set_reads_the_better_answers(row: Any, options: Any, tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as records:
        assert first(read(tmp_path, row, **options)) == [("user", "Hi"), ("assistant", "Hello")]
    (told,) = [record for record in records if record["event"] == "data.left_out"]
    assert told["columns"]["rejected"] == 20


def test_answers_marked_good_and_bad_are_not_learned_alike(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "completion": "Hello", "label": False}
    with pytest.raises(DataInvalid, match="holds good and bad answers, marked by 'label'") as refusal:
        read(tmp_path, row)
    assert "jq -c 'select(.label)'" in str(refusal.value)
    columns = {"prompt": "prompt", "completion": "completion"}
    assert read(tmp_path, row, columns=columns).rows == 20


def test_what_is_not_trained_is_told_and_counted(tmp_path: Path) -> None:
    rows = [{"text": "a", "source": "wiki", "note": "x" if n < 3 else "", "n": None} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with structlog.testing.capture_logs() as records:
        prepared = prepare(
            [(Dataset(id="rows.jsonl"), tmp_path / "rows.jsonl")], seed=1, system=None, out=tmp_path / "out"
        )
    assert prepared.left_out == {"rows.jsonl": {"source": 30, "note": 3}}
    (told,) = [record for record in records if record["event"] == "data.left_out"]
    assert told["log_level"] == "warning"
    assert told["what"] == "rows.jsonl: not trained, as rows are read as text: source (30 rows), note (3 rows)"


def test_columns_that_are_not_decoded_are_told_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(as_parquet([{"text": "a", "picture": b"x"}] * 9))
    prepared = prepare([(Dataset(id="rows.parquet"), path)], seed=1, system=None, out=tmp_path / "out")
    assert prepared.left_out == {"rows.parquet": {"picture": 9}}


def test_rows_without_other_columns_are_told_nothing(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as records:
        assert read(tmp_path, {"messages": CHAT}).left_out == {}
    assert not [record for record in records if record["log_level"] == "warning"]
