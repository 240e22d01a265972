"""Rows become tokens once: what is trained, judged, sampled and calibrated on is the same."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.errors import DataInvalid, SpecInvalid
from tests.job.tokens.making import TALK, made, rows_in, tokenizer_folder

TEXTS = [{"text": f"Row {n} of the text."} for n in range(5)]


def test_a_row_keeps_its_ids_labels_length_and_source(tmp_path: Path) -> None:
    rows = [{"text": "Row one. " * 30, "source": "a.jsonl:7"}, {"text": "Row two.", "source": "a.jsonl:9"}]
    found = made(tmp_path, rows, "text", training={"max_length": 16})
    assert found.train and found.train.rows == 2 and found.train.cut == 1
    long, short = rows_in(found.train.path)
    assert [row["source"] for row in (long, short)] == ["a.jsonl:7", "a.jsonl:9"]
    assert len(long["input_ids"]) == 16 < long["length"] and short["length"] == len(short["input_ids"])
    assert short["labels"] == short["input_ids"] and short["input_ids"][-1] == 2


def test_the_judged_ids_are_the_trained_ones(tmp_path: Path) -> None:
    found = made(tmp_path, [{"messages": TALK}] * 3, "messages")
    assert found.train and found.eval and found.held_out
    assert found.train.digest == found.eval.digest
    judged = [list(map(int, line.split())) for line in found.held_out.ids.read_text().splitlines()]
    assert judged == [row["input_ids"] for row in rows_in(found.train.path)]
    assert found.held_out.count == found.train.tokens


def test_samples_ask_for_the_answer_that_the_row_has(tmp_path: Path) -> None:
    (prompt,) = made(tmp_path, [{"messages": TALK}], "messages", evaluation={"samples": 1}).prompts
    assert (prompt.shown, prompt.reference) == ("<|user|>Who?<|end|><|assistant|>", "Me.")
    assert prompt.ids[0] != 1, "a chat template writes its own BOS"


def test_calibration_is_on_what_is_trained(tmp_path: Path) -> None:
    found = made(tmp_path, [{"messages": TALK}] * 2, "messages")
    assert found.calibration
    text = "<|user|>Who?<|end|><|assistant|>Me.</s>\n"
    assert found.calibration.read_text() == text * 2


def test_a_large_data_set_is_taken_evenly_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.tokens.rows.CALIBRATION_BYTES", 10_000)
    found = made(tmp_path, [{"text": f"row {n:05d} {'é' * 40}"} for n in range(1000)], "text", training=None)
    assert found.calibration and found.train is None
    taken = [int(line.split()[1]) for line in found.calibration.read_text(encoding="utf-8").splitlines()]
    assert 9_000 < found.calibration.stat().st_size < 10_200
    assert taken[0] == 0 and taken[-1] > 900 and len({b - a for a, b in pairwise(taken)}) == 1


def test_files_that_moved_are_found_again(tmp_path: Path) -> None:
    found = made(tmp_path, TEXTS, "text")
    there = found.moved(Path()).moved(tmp_path)
    assert there == found and all(path.is_file() for path in there.files())


def test_the_same_rows_have_one_digest_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one = made(tmp_path, TEXTS, "text")
    moved = made(tmp_path / "b", [row | {"source": "other.jsonl:1"} for row in TEXTS], "text")
    assert one.train and moved.train and one.train.digest == moved.train.digest


def test_rows_without_a_token_to_learn_are_told_before_a_training(tmp_path: Path) -> None:
    rows = [{"prompt": "A long question " * 9, "completion": "an answer"}, {"prompt": "Why? ", "completion": "So."}]
    with capture_logs() as events:
        found = made(tmp_path, rows, "prompt_completion", training={"max_length": 12})
    assert found.train and found.train.rows == 1 and found.unlearned == 2  # trained and held out
    assert [one["rows"] for one in events if one["event"] == "tokens.nothing_to_learn"] == [2]
    with pytest.raises(DataInvalid, match="no row has a token to train on"):
        made(tmp_path, rows[:1], "prompt_completion", training={"max_length": 12})


def test_chats_without_a_template_say_what_to_set(tmp_path: Path) -> None:
    bare = tokenizer_folder(tmp_path / "bare", chat_template=None)
    with pytest.raises(SpecInvalid, match="has no chat template"):
        made(tmp_path, [{"messages": TALK}], "messages", model=bare)


def test_without_a_template_the_turns_calibrate_one_after_another_and_a_warning_says_so(tmp_path: Path) -> None:
    bare = tokenizer_folder(tmp_path / "bare", chat_template=None)
    with capture_logs() as events:
        found = made(tmp_path, [{"messages": TALK}], "messages", model=bare, training=None, evaluation={"judge": False})
    assert found.calibration and found.calibration.read_text() == "Who?\nMe.\n"
    assert "imatrix.no_chat_template" in [event["event"] for event in events]


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for m in messages %}",
        "{{ messages + 1 }}",
    ],
)
def test_a_template_that_refuses_fails_or_breaks_out_ends_with_the_row(tmp_path: Path, template: str) -> None:
    model = tokenizer_folder(tmp_path / "model", chat_template=template)
    rows: list[dict[str, Any]] = [{"messages": TALK, "source": "a.jsonl:1"}]
    with pytest.raises(SpecInvalid, match=r"a.jsonl:1: the chat template refuses it"):
        made(tmp_path, rows, "messages", model=model)


NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if loop.index0 % 2 != (m.role == 'assistant') | int %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{{ eos_token }}{% endfor %}"
)
"""As Gemma's."""


@pytest.mark.parametrize(
    ("turns", "chat", "what"),
    [
        ([{"role": "system", "content": "Be brief."}, *TALK], {}, "Leave the system turns out of the rows"),
        ([{"role": "system", "content": "Be brief."}, *TALK], {"system": "Be brief."}, "Leave chat.system out"),
        ([TALK[0], *TALK], {}, "Two turns of one role follow each other: join them"),
        ([*TALK[::-1]], {}, "Change the row"),
    ],
    ids=["system", "chat.system", "twice", "reversed"],
)
def test_what_to_do_about_a_row_that_the_template_refuses_is_said(
    tmp_path: Path, turns: list[dict[str, str]], chat: dict[str, str], what: str
) -> None:
    """After LLaMA-Factory#8217 and unsloth#994."""
    model = tokenizer_folder(tmp_path / "model", chat_template=NO_SYSTEM)
    with pytest.raises(SpecInvalid, match="refuses it") as told:
        made(tmp_path, [{"messages": turns, "source": "rows.jsonl:1"}], "messages", model=model, chat=chat)
    assert "rows.jsonl:1" in told.value.message
    assert what in told.value.hint and "chatml" in told.value.hint


def test_the_named_default_of_several_templates_is_taken(tmp_path: Path) -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    several: Any = [{"name": "tool_use", "template": "wrong"}, {"name": "default", "template": template}]
    model = tokenizer_folder(tmp_path / "model", chat_template=several)
    found = made(tmp_path, [{"messages": TALK}], "messages", model=model)
    assert found.calibration and found.calibration.read_text() == "<s>Who?</s>Me.</s>\n"
    assert found.vocabulary.template == template, "what the file must have, and the card speaks of"


def test_the_template_for_tools_is_taken_for_rows_with_tools(tmp_path: Path) -> None:
    """In the layout in which transformers saves several; only one of them marks answers."""
    plain = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    for_tools = "{{ tools[0].function.name }}: {% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    model = tokenizer_folder(tmp_path / "model", chat_template=None)
    (model / "additional_chat_templates").mkdir()
    (model / "chat_template.jinja").write_text(plain)
    (model / "additional_chat_templates" / "tool_use.jinja").write_text(for_tools)
    tools = [{"type": "function", "function": {"name": "Call"}}]
    found = made(tmp_path, [{"messages": TALK}, {"messages": TALK, "tools": tools}], "messages", model=model)
    assert found.calibration and found.calibration.read_text() == "Who?Me.</s>\nCall: Who?</s>Me.</s>\n"
    assert found.train and found.left_out == {}
    first, second = rows_in(found.train.path)
    assert sum(label >= 0 for label in first["labels"]) == sum(label >= 0 for label in second["labels"]) > 1


def test_a_generation_config_that_is_not_json_is_named(tmp_path: Path) -> None:
    model = tokenizer_folder(tmp_path / "model")
    (model / "generation_config.json").write_text("{")
    with pytest.raises(DataInvalid, match=r"generation_config\.json is not JSON"):
        made(tmp_path, TEXTS, "text", model=model)


def test_the_places_at_which_held_out_answers_end_are_known(tmp_path: Path) -> None:
    talk = [*TALK, *TALK]
    found = made(tmp_path, [{"messages": talk}] * 2, "messages")
    assert found.held_out and found.stops == ["</s>"]
    stream = [int(word) for word in found.held_out.ids.read_text().split()]
    assert found.end_places() == [place for place, token in enumerate(stream) if token == 2]
    assert len(found.end_places()) == 4


def test_text_has_no_answers_that_end(tmp_path: Path) -> None:
    assert made(tmp_path, TEXTS, "text").end_places() == []
