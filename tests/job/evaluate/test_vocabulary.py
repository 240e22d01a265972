"""A GGUF that has lost its end, its template or its words is not published."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from job.errors import IntegrityViolated, QualityRejected
from job.evaluate import vocabulary
from job.export import stage as export_stage
from job.llama_cpp.examine import Questions, examine
from job.llama_cpp.gguf import read_metadata
from job.spec import JobSpec
from job.tokens import stage as tokens
from tests.export_reference import exported
from tests.tiny_families import make_family
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow
SPEC = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def expected(base: Path, tmp_path_factory: pytest.TempPathFactory) -> vocabulary.Vocabulary:
    folder = tmp_path_factory.mktemp("tokens")
    rows = folder / "eval.jsonl"
    chat = [{"role": "user", "content": "Is it ½ or not?"}, {"role": "assistant", "content": "It is."}]
    rows.write_text(json.dumps({"messages": chat}) + "\n")
    return tokens.run(SPEC, tokens.Inputs(model=base, rows=rows, kind="messages"), folder).vocabulary


def check(gguf: Path, expected: vocabulary.Vocabulary) -> None:
    questions = Questions(text=expected.text.read_text(), ends=vocabulary.ends_of(expected))
    vocabulary.check(gguf, expected, examine(gguf, questions))


@pytest.mark.parametrize("kind", ["text", "prompt_completion", None])
def test_a_chat_models_format_is_its_templates_whatever_the_rows_are(
    base: Path, kind: str | None, tmp_path: Path
) -> None:
    rows = tmp_path / "eval.jsonl"
    rows.write_text(json.dumps({"text": "A row."} if kind == "text" else {"prompt": "A", "completion": "B"}) + "\n")
    form = tokens.run(
        SPEC, tokens.Inputs(model=base, rows=rows if kind else None, kind=kind or "text"), tmp_path
    ).format
    assert form
    assert form.shown() == "<|system|>{system}<|end|><|user|>{prompt}<|end|><|assistant|>"


def changed(base: Path, folder: Path, **settings: Any) -> Path:
    """The model, exported with a tokenizer_config.json that says something else."""
    shutil.copytree(base, folder / "model")
    path = folder / "model" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return exported(folder / "model", None, folder / "out").gguf


def test_a_sound_file_reads_as_the_models_tokenizer_does(
    base: Path, expected: vocabulary.Vocabulary, tmp_path: Path
) -> None:
    check(exported(base, None, tmp_path).gguf, expected)


@pytest.mark.parametrize("family", ["Llama 3", "Qwen 3", "Gemma 3", "Phi-3"])
def test_the_files_of_every_family_pass(family: str, tmp_path: Path) -> None:
    folder = make_family(tmp_path / "model", family)
    gguf = exported(folder, None, tmp_path / "out").gguf
    (tmp_path / "tokens").mkdir()
    check(gguf, tokens.run(SPEC, tokens.Inputs(model=folder), tmp_path / "tokens").vocabulary)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"chat_template": "{{ messages }}"}, "the chat template is another one"),
        ({"chat_template": None}, "the chat template is missing"),
        ({"eos_token": "<|end|>"}, "answers would not stop"),
    ],
)
def test_what_a_file_has_lost_is_named(
    base: Path, expected: vocabulary.Vocabulary, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(QualityRejected, match="is not published") as caught:
        check(changed(base, tmp_path, **settings), expected)
    assert said in caught.value.message and caught.value.code == 81


def test_an_added_token_of_the_template_that_the_file_lost_is_named(
    base: Path, expected: vocabulary.Vocabulary, tmp_path: Path
) -> None:
    """Those that are not among the tokenizer's special ones too; a converter fills the gap with [PAD7]."""
    assert set(expected.written.values()) >= {"<|user|>", "<|end|>", "<|assistant|>"}
    other = expected.model_copy(update={"written": expected.written | {400: "<tool>", 1600: "<more>"}})
    with pytest.raises(
        QualityRejected, match=r"tokens of the chat template are not tokens of the file: <tool>, <more>"
    ):
        check(exported(base, None, tmp_path).gguf, other)


def test_a_text_ends_where_the_template_ends_a_turn_whatever_the_token_is_called(base: Path, tmp_path: Path) -> None:
    """llama.cpp knows <|end|> by its text, and not <|system|>."""
    shutil.copytree(base, model := tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["chat_template"] = config["chat_template"].replace("eos_token", "'<|system|>'")
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "tokens").mkdir()
    expected = tokens.run(SPEC, tokens.Inputs(model=model), tmp_path / "tokens").vocabulary
    assert expected.turn_end == 3 != expected.eos
    inputs = export_stage.Inputs(model=model, name="tiny")
    with pytest.raises(QualityRejected, match="does not end at token 3"):
        check(export_stage.run(SPEC, inputs, tmp_path / "without").gguf, expected)
    inputs = inputs.model_copy(update={"turn_end": expected.turn_end})
    check(export_stage.run(SPEC, inputs, tmp_path / "with").gguf, expected)


def test_words_that_are_read_differently_are_named_with_their_place(
    base: Path, expected: vocabulary.Vocabulary, tmp_path: Path
) -> None:
    ids = expected.ids.read_text().split()
    (tmp_path / "ids.txt").write_text(" ".join([*ids[:7], "999", *ids[8:]]))
    other = expected.model_copy(update={"ids": tmp_path / "ids.txt", "control": [400]})
    with pytest.raises(QualityRejected) as caught:
        check(exported(base, None, tmp_path).gguf, other)
    assert "differ from token 7 on" in caught.value.message
    assert "control tokens are ordinary text in the file: [400]" in caught.value.message


def test_a_text_ends_at_its_end_and_at_nothing_else(
    base: Path, expected: vocabulary.Vocabulary, tmp_path: Path
) -> None:
    gguf = exported(base, None, tmp_path).gguf
    assert examine(gguf, Questions(ends=[expected.eos, 400])).ends == [True, False]


@pytest.mark.parametrize("content", [b"", b"GG", b"no GGUF at all", b"GGUF\x03\0\0\0" + b"\xff" * 16])
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(IntegrityViolated, match="not a complete GGUF"):
        read_metadata(tmp_path / "model.gguf")
