"""One BOS, one EOS: every answer has a token that ends it, and that token has a loss."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from job.chat.rendering import Budget
from job.errors import SpecInvalid
from job.tokens.answers import end_after, enders_of, find_answers
from job.tokens.encoder import NO_LOSS, Encoder, Unfit
from job.tokens.renderer import Refused, Renderer
from job.tokens.tokenizer import load_tokenizer
from tests.job.tokens.making import TALK, encoded, learned, made, rows_in, spec_of, tokenizer_folder

TALKS: list[dict[str, Any]] = [
    *TALK,
    {"role": "user", "content": "And they?"},
    {"role": "assistant", "content": "They."},
]
BOS, EOS = 1, 2


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.mark.parametrize("text", ["Hello", "<s>Hello", "Hello</s>", "<s>Hello</s>", "<s><|user|>Hi<|end|></s>"])
@pytest.mark.parametrize("trainer", ["trl", "transformers"])
def test_a_text_has_one_bos_and_at_most_one_eos(model: Path, text: str, trainer: str) -> None:
    found, _ = encoded(model, "text", {"text": text}, training={"trainer": trainer})
    assert found.ids.count(BOS) == 1 and found.ids[0] == BOS
    assert found.ids.count(EOS) == (1 if trainer == "trl" or "</s>" in text else 0)


def test_a_tokenizer_that_adds_eos_itself_gives_one(tmp_path: Path) -> None:
    from tokenizers import processors

    folder = tokenizer_folder(tmp_path / "model")
    tokenizer = load_tokenizer(spec_of(), folder)
    both = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> $B </s>", [("<s>", BOS), ("</s>", EOS)])
    tokenizer.backend_tokenizer.post_processor = both
    found = Encoder(spec_of(), tokenizer, "text").encode({"text": "Hello</s>"})
    assert found.ids.count(EOS) == 1 and found.labels[-1] == EOS


@pytest.mark.parametrize("trainer", ["trl", "transformers"])
def test_a_completion_ends_with_an_eos_that_is_learned(model: Path, trainer: str) -> None:
    row = {"prompt": "Who? ", "completion": "Me."}
    found, tokenizer = encoded(model, "prompt_completion", row, training={"trainer": trainer})
    assert (found.ids[-1], found.labels[-1]) == (EOS, EOS)
    assert learned(found, tokenizer) == ("Me.</s>" if trainer == "trl" else "<s> Who? Me.</s>")


ENDS = {
    "inside the marks": "{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}",
    "outside the marks": "{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}",
    "a line after the marks": "{% generation %}{{ m.content }}{% endgeneration %}\n{{ eos_token }}",
    "without marks": "{{ m.content }}{{ eos_token }}\n",
    "between turns alone": "{{ m.content }}{% if not loop.last %}<|end|>{% endif %}",
}
ASSISTANT = "{{% for m in messages %}}{{% if m.role == 'assistant' %}}<|assistant|>{answer}{{% else %}}"
OTHERS = "<|user|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"


def template(answer: str) -> str:
    return ASSISTANT.format(answer=answer) + OTHERS


@pytest.mark.parametrize("where", ENDS)
@pytest.mark.parametrize("training", [{}, {"assistant_only_loss": False}, {"trainer": "transformers"}], ids=str)
def test_the_token_that_ends_an_answer_is_learned_wherever_the_template_writes_it(
    model: Path, where: str, training: dict[str, Any]
) -> None:
    sections = {"chat": {"template": template(ENDS[where])}, "training": training}
    found, tokenizer = encoded(model, "messages", {"messages": TALKS}, **sections)
    ender = "<|end|>" if "between" in where else "</s>"
    token = tokenizer.convert_tokens_to_ids(ender)
    answers = [n for n, one in enumerate(found.ids) if one == tokenizer.convert_tokens_to_ids("<|assistant|>")]
    for start in answers:
        end = found.ids.index(token, start)
        assert found.labels[end] == token, tokenizer.decode(found.ids[start : end + 1])
    if not training:
        assert learned(found, tokenizer).replace("\n", "").replace(" ", "") == f"Me.{ender}They.{ender}"


def test_a_template_that_ends_no_answer_is_refused_before_a_training(tmp_path: Path, model: Path) -> None:
    rows = [{"messages": TALKS, "source": "rows.jsonl:3"}]
    for answer in ("{{ m.content }}", "{% generation %}{{ m.content }}{% endgeneration %}\n"):
        for training in ({}, {"assistant_only_loss": False}):
            sections: dict[str, Any] = {"chat": {"template": template(answer).replace("<|end|>", "\n")}}
            with pytest.raises(SpecInvalid, match=r"rows.jsonl:3: no token ends the answer of turn 2"):
                made(tmp_path, rows, "messages", model=model, training=training, **sections)


def test_an_answer_that_max_length_cuts_needs_no_end(tmp_path: Path, model: Path) -> None:
    found = made(tmp_path, [{"messages": TALKS}], "messages", model=model, training={"max_length": 9})
    assert found.train and found.train.cut == 1
    (row,) = rows_in(found.train.path)
    assert EOS not in row["input_ids"] or row["labels"][-1] != NO_LOSS


class Templated:
    """Of a tokenizer, what a renderer asks for."""

    def __init__(self, template: str) -> None:
        self.chat_template, self.special_tokens_map = template, {"bos_token": "<s>", "eos_token": "</s>"}

    def get_chat_template(self, tools: Any = None) -> str:
        return self.chat_template


TRL = resources.files("trl") / "chat_templates"
MARKED = sorted(one.name.replace("_training", "") for one in TRL.iterdir() if one.name.endswith("_training.jinja"))
DIFFER = {"idefics3", "smolvlm", "llava_next"}
"""They take contents that are lists of parts."""


@pytest.mark.parametrize("name", [name for name in MARKED if name.removesuffix(".jinja") not in DIFFER])
def test_answers_are_found_where_trls_variants_for_training_mark_them(name: str) -> None:
    """Up to line breaks, and up to what asks for an answer, which a few of these variants mark too."""
    import re

    own, variant = (
        Renderer(Templated((TRL / one).read_text(encoding="utf-8")), Budget(is_own=True))
        for one in (name, name.replace(".jinja", "_training.jinja"))
    )
    text, marked = own.render(TALKS).text, variant.render(TALKS)
    special = ["</s>", "<|END_OF_TURN_TOKEN|>", *set(re.findall(r"<\|?[^<>{}\s'\"]+\|?>|<｜[^<>]+｜>", text))]  # noqa: RUF001
    enders = ["</s>", "<|END_OF_TURN_TOKEN|>", *enders_of(own, special)]
    found = find_answers(own, TALKS, None, text, enders)
    if marked.text != text:
        return  # a variant that writes other text
    theirs = [text[start:end].strip() for start, end in marked.marked]
    for span, said in zip(found, ("Me.", "They."), strict=True):
        assert span
        mine = text[span[0] : span[1]]
        assert said in mine and any(mine.strip() in one or one in mine for one in theirs)
        assert end_after(text, span[1] - 1, [], enders) != span[1] - 1 and mine.endswith(tuple(enders))


def test_a_template_that_cannot_tell_its_turns_apart_leaves_the_loss_on_all(model: Path) -> None:
    secret = "{% for m in messages %}{{ m.role }}{{ eos_token }}{% endfor %}"
    found, _ = encoded(model, "messages", {"messages": TALK}, chat={"template": secret})
    assert found.labels == found.ids
    with pytest.raises(SpecInvalid, match="cannot be told from others"):
        encoded(
            model, "messages", {"messages": TALK}, chat={"template": secret}, training={"assistant_only_loss": True}
        )
    with pytest.raises((Unfit, Refused)):
        encoded(model, "messages", {"messages": TALK}, chat={"template": "{{ raise_exception('no') }}"})
