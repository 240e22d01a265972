"""Tokens that a template writes and the vocabulary lacks are added, or the run ends before it trains."""

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from job.chat.portable import portable_template
from job.chat.prompt_format import take_apart
from job.errors import SpecInvalid
from job.spec.ready import READY
from job.tokens import stage
from job.tokens.encoder import NO_LOSS
from job.tokens.tokenizer import load_tokenizer
from tests.job.tokens.making import TALK, made, rows_in, spec_of, tokenizer_folder

ROWS = [{"messages": TALK}] * 3
SYSTEM = {"role": "system", "content": "Be brief."}
TALKED = {
    "chatml": "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
    "<|im_start|>assistant\nMe.<|im_end|>\n",
    "llama3": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user"
    "<|end_header_id|>\n\nWho?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nMe.<|eot_id|>",
    "phi3": "<s><|system|>\nBe brief.<|end|>\n<|user|>\nWho?<|end|>\n<|assistant|>\nMe.<|end|>\n",
    "plain": "<s>System: Be brief.\nUser: Who?\nAssistant: Me.</s>\n",
}


@pytest.mark.parametrize("name", READY)
def test_a_ready_template_writes_what_its_models_read_and_can_be_taken_apart(name: str) -> None:
    compiled = ImmutableSandboxedEnvironment().from_string(portable_template(READY[name]))

    def render(messages: list[dict[str, str]], answers: bool) -> str:
        return compiled.render(messages=messages, add_generation_prompt=answers, bos_token="<s>", eos_token="</s>")

    assert render([SYSTEM, *TALK], False) == TALKED[name]
    form = take_apart(render, "<s>")
    assert form and form.system is not None and form.end


@pytest.mark.parametrize(
    ("name", "added", "end"),
    [
        ("chatml", ["<|im_start|>", "<|im_end|>"], "<|im_end|>"),
        ("llama3", ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], "<|eot_id|>"),
        ("phi3", [], "<|end|>"),
        ("plain", [], "</s>"),
    ],
)
def test_a_ready_templates_tokens_are_added_and_an_answer_ends_with_one(
    tmp_path: Path, name: str, added: list[str], end: str
) -> None:
    """The tiny vocabulary has Phi-3's."""
    model = tokenizer_folder(tmp_path / "model", chat_template=None)
    found = made(tmp_path, ROWS, "messages", model, chat={"template": name})
    assert sorted(found.added) == sorted(added)
    spec = spec_of(chat={"template": name})
    tokenizer = load_tokenizer(spec, model, found.added)
    assert found.size == len(tokenizer) == 1536 + len(added)
    assert found.train
    row = rows_in(found.train.path)[0]
    learned = [label for label in row["labels"] if label != NO_LOSS]
    assert tokenizer.convert_ids_to_tokens(learned[-1]) == end
    assert found.format and end in found.format.end and end in found.stops and "</s>" in found.stops
    if added:
        assert tokenizer.eos_token == end and found.vocabulary.eos == learned[-1]
        assert tokenizer.pad_token == "</s>", "what pads is not what ends an answer"


def test_markers_of_a_template_that_the_vocabulary_has_are_not_added(tmp_path: Path) -> None:
    assert made(tmp_path, ROWS, "messages").added == []


@pytest.mark.parametrize("kind", ["text", "prompt_completion"])
def test_rows_without_turns_need_no_markers(tmp_path: Path, kind: str) -> None:
    rows: list[dict[str, Any]] = [{"text": "Who?"} if kind == "text" else {"prompt": "Who?", "completion": "Me."}]
    assert made(tmp_path, rows, kind, chat={"template": "chatml"}).added == []


def test_tokens_that_are_named_are_added_for_any_rows(tmp_path: Path) -> None:
    found = made(tmp_path, [{"text": "A <gene> here."}] * 3, "text", chat={"add_tokens": ["<gene>", "<|user|>"]})
    assert found.added == ["<gene>", "<|user|>"]
    assert found.size == 1537
    assert found.train and 1536 in rows_in(found.train.path)[0]["input_ids"]


@pytest.mark.parametrize(
    ("sections", "what"),
    [
        ({"chat": {"template": "chatml", "add_tokens": []}}, "no token ends the answer"),
        ({"chat": {"template": "chatml"}, "export": {"adapter": True}}, "cannot hold trained tokens"),
        ({"chat": {"template": "chatml"}, "model": {"id": "me/model", "adapter": "me/lora"}}, "has no place for more"),
    ],
)
def test_a_run_that_has_no_place_for_them_ends_before_it_trains(
    tmp_path: Path, sections: dict[str, Any], what: str
) -> None:
    model, path = tokenizer_folder(tmp_path / "model", chat_template=None), tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(SpecInvalid, match=what):
        stage.run(spec_of(**sections), stage.Inputs(model=model, train=path, kind="messages"), tmp_path)
