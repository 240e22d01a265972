"""Chats are trained whole: every field goes to the chat template as transformers takes it, or is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.dataset.layouts import find_layout
from job.dataset.normalize import normalizer
from job.dataset.readers import read_rows
from job.spec.sections import Dataset
from job.tokens.encoder import Encoder
from tests.job.tokens.families import FROM_LLAMA_CPP, FROM_TRL, from_llama_cpp, from_trl, tokenizer_with
from tests.job.tokens.making import learned, made, rows_in, spec_of

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Weather of a town",
    "parameters": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}
TOOLS = [{"type": "function", "function": WEATHER}]
ASKED = {"role": "user", "content": "What is the weather in Town 0?"}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "get_weather", "arguments": {"town": "Town 0"}}}
ANSWER = {"role": "assistant", "content": "It is 12 degrees in Town 0."}
CALLED = [
    ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "twelve degrees", "tool_call_id": "abcdefghi"},
    ANSWER,
]
"""As transformers documents it."""


def with_text_arguments(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As OpenAI's API has it: arguments are text, and a content beside calls is null."""
    function = {"name": "get_weather", "arguments": json.dumps({"town": "Town 0"})}
    return [
        turn | {"content": None, "tool_calls": [CALL | {"function": function}]} if "tool_calls" in turn else turn
        for turn in turns
    ]


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A machine."}] * 2,
    "called": CALLED,
    "system": [{"role": "system", "content": "Speak as a pirate would."}, *CALLED],
    "thinking": [
        {"role": "user", "content": "What is 1 plus 1?"},
        {"role": "assistant", "content": "It is 2.", "reasoning_content": "I add one to one."},
        {"role": "user", "content": "And 2 plus 2?"},
        {"role": "assistant", "content": "It is 4.", "reasoning_content": "I add two to two."},
    ],
}
FORMS: dict[str, dict[str, Any]] = {
    "transformers": {"messages": CALLED, "tools": TOOLS},
    "OpenAI": {"messages": with_text_arguments(CALLED), "tools": TOOLS},
    "JSON texts": {
        "messages": json.dumps(
            [
                {**turn, **({"tool_calls": json.dumps(turn["tool_calls"])} if "tool_calls" in turn else {})}
                for turn in CALLED
            ]
        ),
        "tools": json.dumps(TOOLS),
    },
    "functions alone": {
        "messages": [
            turn | {"tool_calls": [CALL["function"] | {"id": "abcdefghi"}]} if "tool_calls" in turn else turn
            for turn in CALLED
        ],
        "tools": [WEATHER],
    },
    "LLaMA-Factory": {
        "conversations": [
            {"from": "human", "value": ASKED["content"]},
            {"from": "function_call", "value": json.dumps(CALL["function"])},
            {"from": "observation", "value": "twelve degrees"},
            {"from": "gpt", "value": ANSWER["content"]},
        ],
        "tools": json.dumps([WEATHER]),
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


def row_of(raw: dict[str, Any], **dataset: Any) -> dict[str, Any]:
    """A row as it is prepared."""
    layout = find_layout(Dataset(id="./rows.jsonl", **dataset), [raw], "rows")
    return normalizer(layout, layout.kind, None)(raw)


def expected(tokenizer: Any, turns: list[dict[str, Any]], tools: Any = None) -> list[int]:
    return list(tokenizer.apply_chat_template(turns, tools=tools, tokenize=True, return_dict=True)["input_ids"])


def check(tokenizer: Any, turns: list[dict[str, Any]], raw: dict[str, Any], tools: Any) -> None:
    found = Encoder(spec_of(), tokenizer, "messages").encode(row_of(raw))
    assert found.ids == expected(tokenizer, turns, tools)
    said = learned(found, tokenizer)
    assert ANSWER["content"] in said if turns[-1] == ANSWER else turns[-1]["content"] in said
    assert all(turn["content"] not in said for turn in turns if turn["role"] in ("user", "tool", "system"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FROM_TRL)
def test_calls_in_every_form_have_the_ids_of_apply_chat_template(root: Path, name: str, form: str) -> None:
    tokenizer = tokenizer_with(FROM_TRL[name], from_trl(name), root)
    found = Encoder(spec_of(), tokenizer, "messages").encode(row_of(FORMS[form]))
    assert found.ids == expected(tokenizer, CALLED, TOOLS)
    said = learned(found, tokenizer)
    assert "get_weather" in said and "It is 12 degrees in Town 0." in said and "What is" not in said


@pytest.mark.parametrize("talk", CONVERSATIONS)
@pytest.mark.parametrize("name", FROM_TRL)
def test_the_ids_are_those_of_apply_chat_template(root: Path, name: str, talk: str) -> None:
    tools = TOOLS if talk in ("called", "system") else None
    tokenizer = tokenizer_with(FROM_TRL[name], from_trl(name), root)
    check(tokenizer, CONVERSATIONS[talk], {"messages": CONVERSATIONS[talk], "tools": tools}, tools)


@pytest.mark.slow
@pytest.mark.parametrize("talk", CONVERSATIONS)
@pytest.mark.parametrize("name", FROM_LLAMA_CPP)
def test_the_ids_are_those_of_apply_chat_template_for_what_llama_cpp_carries(root: Path, name: str, talk: str) -> None:
    turns = CONVERSATIONS[talk]
    tools = TOOLS if talk in ("called", "system") or "Hermes" in name else None
    tokenizer = tokenizer_with(FROM_LLAMA_CPP[name], from_llama_cpp(name), root)
    check(tokenizer, turns, {"messages": turns, "tools": tools}, tools)


@pytest.mark.parametrize(
    ("raw", "system"),
    [
        ({"messages": [ASKED, ANSWER], "system": "Be brief."}, "Be brief."),
        (
            {
                "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}],
                "system": "Be brief.",
                "tools": "",
            },
            "Be brief.",
        ),
        ({"prompt": [ASKED], "completion": [ANSWER], "system": "Be brief."}, "Be brief."),
        ({"question": "Who?", "answer": "Me.", "system": "Be brief."}, "Be brief."),
        ({"messages": [ASKED, ANSWER], "system": ""}, None),
    ],
)
def test_a_system_column_becomes_the_system_turn(raw: dict[str, Any], system: str | None) -> None:
    first = row_of(raw)["messages"][0]
    assert (first["role"], first["content"]) == (("system", system) if system else ("user", ASKED["content"]))


def test_the_history_of_alpaca_comes_before_the_instruction() -> None:
    row = row_of({"instruction": "And you?", "output": "Me too.", "history": [["How are you?", "Fine."]], "input": ""})
    assert [turn["content"] for turn in row["messages"]] == ["How are you?", "Fine.", "And you?", "Me too."]


def test_a_call_in_parquet_has_only_its_own_arguments(tmp_path: Path) -> None:
    """Parquet gives each row the fields of all."""
    import pyarrow as pa
    from pyarrow import parquet

    def called(**arguments: Any) -> dict[str, Any]:
        call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
        return {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}]}

    parquet.write_table(pa.Table.from_pylist([called(town="Rome"), called(day="Monday")]), tmp_path / "rows.parquet")
    rows = [row_of(row) for _, row in read_rows(tmp_path / "rows.parquet") if isinstance(row, dict)]
    arguments = [row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in rows]
    assert arguments == [{"town": "Rome"}, {"day": "Monday"}]


TRIED = [
    {"role": "user", "content": "Name town 0."},
    {"role": "assistant", "content": "WRONG ANSWER"},
    {"role": "user", "content": "No, try again."},
    {"role": "assistant", "content": "Newtown 0."},
]


@pytest.mark.parametrize("weight", [{"weight": 0}, {"train": False}, {"weight": 0.0}], ids=str)
@pytest.mark.parametrize("training", [{}, {"assistant_only_loss": False}], ids=str)
@pytest.mark.parametrize("name", FROM_TRL)
def test_a_turn_of_weight_0_has_no_loss(
    root: Path, name: str, weight: dict[str, Any], training: dict[str, Any]
) -> None:
    tokenizer = tokenizer_with(FROM_TRL[name], from_trl(name), root)
    row = row_of({"messages": [turn | (weight if "WRONG" in turn["content"] else {"weight": 1}) for turn in TRIED]})
    found = Encoder(spec_of(training=training), tokenizer, "messages").encode(row)
    assert found.ids == expected(tokenizer, TRIED)
    said = learned(found, tokenizer)
    assert "WRONG" not in said and "Newtown 0." in said
    assert ("Name town 0." in said) == bool(training)


@pytest.mark.parametrize("marks", [True, False])
def test_a_call_that_a_template_does_not_show_is_no_empty_answer(root: Path, marks: bool) -> None:
    answer = "{{ m.content }}{{ eos_token }}"
    answer = f"{{% generation %}}{answer}{{% endgeneration %}}" if marks else answer
    bare = f"{{% for m in messages %}}<|im_start|>{{% if m.role == 'assistant' %}}{answer}"
    bare += "{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    tokenizer = tokenizer_with("qwen", bare, root)
    found = Encoder(spec_of(), tokenizer, "messages").encode(row_of(FORMS["OpenAI"]))
    assert learned(found, tokenizer).removeprefix("<|im_start|>") == "It is 12 degrees in Town 0.<|im_end|>"
    assert "tool_calls" in found.left_out


def test_what_a_template_does_not_show_is_named(root: Path) -> None:
    llama = tokenizer_with("llama", from_trl("llama3_1"), root)
    encoder = Encoder(spec_of(), llama, "messages")
    assert encoder.encode(row_of({"messages": CONVERSATIONS["thinking"]})).left_out == {"reasoning_content"}
    assert encoder.encode(row_of(FORMS["OpenAI"])).left_out == {"tool_call_id"}
    beside = [ASKED, with_text_arguments(CALLED)[1] | {"content": "Let me look that up for you."}]
    assert encoder.encode(row_of({"messages": beside})).left_out == {"content of a turn of the assistant"}
    qwen = Encoder(spec_of(), tokenizer_with("qwen", from_trl("qwen3"), root), "messages")
    assert qwen.encode(row_of({"messages": CONVERSATIONS["thinking"][2:]})).left_out == set()
    named = [ASKED | {"name": "Anna"}, ANSWER]
    assert qwen.encode(row_of({"messages": named})).left_out == {"name"}


def test_tools_that_a_template_does_not_show_are_named(root: Path) -> None:
    bare = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
    encoder = Encoder(spec_of(), tokenizer_with("qwen", bare, root), "messages")
    assert encoder.encode(row_of({"messages": [ASKED, ANSWER], "tools": TOOLS})).left_out == {"tools"}
    found = encoder.encode(row_of(FORMS["OpenAI"]))
    assert found.left_out == {"tools", "tool_calls", "tool_call_id"} and "None" not in found.text


@pytest.mark.parametrize("name", FROM_TRL)
def test_judged_rows_are_trained_rows_for_every_family(root: Path, tmp_path: Path, name: str) -> None:
    """TRL would train Qwen 3 with another template than its own, which keeps what the model thought in every turn."""
    model = tmp_path / "model"
    tokenizer_with(FROM_TRL[name], from_trl(name), root).save_pretrained(model)
    rows = [row_of({"messages": turns}) for turns in CONVERSATIONS.values()]
    found = made(tmp_path, rows, "messages", model=model)
    assert found.train and found.held_out and found.prompts
    judged = [list(map(int, line.split())) for line in found.held_out.ids.read_text().splitlines()]
    trained = [row["input_ids"] for row in rows_in(found.train.path)]
    tokenizer = tokenizer_with(FROM_TRL[name], from_trl(name), root)
    assert judged == trained == [expected(tokenizer, turns) for turns in CONVERSATIONS.values()]
    last = CONVERSATIONS["plain"]
    asked = tokenizer.apply_chat_template(last[:-1], add_generation_prompt=True, return_dict=True)["input_ids"]
    assert found.prompts[0].ids == asked and trained[0][: len(asked)] == asked
