"""The chat template of an exported file is the one that its model was trained with."""

import json
import shutil
from pathlib import Path

import pytest

from job.chat.portable import portable_template
from job.export import stage as export_stage
from job.tokens.tokenizer import load_tokenizer
from tests.export_reference import make_adapter, metadata, spec
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter"))


def test_the_specs_chat_template_replaces_every_other(base: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "chat_template.jinja").write_text("the tokenizer's")
    inputs = export_stage.Inputs(model=base, adapter=adapter, tokenizer=tmp_path / "tokenizer", name="tiny")
    saved = export_stage.run(spec(), inputs, tmp_path / "saved")
    assert metadata(saved.gguf)["tokenizer.chat_template"] == "the tokenizer's"
    result = export_stage.run(spec(chat={"template": "{{ spec }}"}, export={"merged": True}), inputs, tmp_path / "out")
    assert metadata(result.gguf)["tokenizer.chat_template"] == "{{ spec }}"
    assert result.merged is not None
    assert not (result.merged / "chat_template.jinja").exists()
    assert json.loads((result.merged / "tokenizer_config.json").read_text())["chat_template"] == "{{ spec }}"


def test_of_two_templates_the_file_has_the_one_that_is_trained(base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    assert "chat_template" in json.loads((model / "tokenizer_config.json").read_text())
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    trained = load_tokenizer(spec(), model)
    assert trained.chat_template == {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    result = export_stage.run(spec(), export_stage.Inputs(model=model, name="tiny"), tmp_path / "out")
    found = metadata(result.gguf)
    assert found["tokenizer.chat_template"] == "{{ messages }}"
    assert found["tokenizer.chat_template.tool_use"] == "{{ tools }}"


def test_a_template_that_only_a_processor_reads_is_trained_and_in_the_file(base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    template = settings.pop("chat_template")
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (model / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_tokenizer(spec(), model).chat_template == template
    result = export_stage.run(spec(), export_stage.Inputs(model=model, name="tiny"), tmp_path / "out")
    assert metadata(result.gguf)["tokenizer.chat_template"] == portable_template(template)
