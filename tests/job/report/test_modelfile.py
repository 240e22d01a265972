"""Ollama's Modelfile says the same as the chat template, in Go's template language as Go itself reads it."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from job.chat.prompt_format import PromptFormat, plain, take_apart
from job.report.modelfile import go_template, modelfile
from tests import ROOT

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEADERS = (
    "<s>{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
BRACKETS = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}"
    "{% else %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}<s>[INST] "
    "{% if loop.first and system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}{{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system prompt') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
ODD = "{% for m in messages %}{{ loop.index }}: {{ m.content }}\n{% endfor %}"
TEMPLATES = {"ChatML": CHATML, "headers": HEADERS, "brackets": BRACKETS, "without a system prompt": NO_SYSTEM}


def render(template: str) -> Any:
    def refuse(message: str) -> None:
        raise TemplateError(message)

    compiled = ImmutableSandboxedEnvironment().from_string(template)

    def rendered(messages: list[dict[str, str]], answers: bool) -> str:
        try:
            return compiled.render(messages=messages, add_generation_prompt=answers, raise_exception=refuse)
        except TemplateError as error:
            raise ValueError(str(error)) from error

    return rendered


def parts(template: str) -> PromptFormat:
    found = take_apart(render(template), "<s>")
    assert found is not None
    return found


def go() -> str:
    """The Go that versitygw is built with."""
    cache = Path(os.environ.get("FINETUNE_CACHE") or Path.home() / ".cache" / "finetune-run")
    fetched = [str(path) for path in cache.glob("versitygw/go-*/bin/go")]
    return next(found for name in ("go", "/usr/local/go/bin/go", *fetched) if (found := shutil.which(name)))


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "render"
    source = ROOT / "tests" / "go_template" / "main.go"
    subprocess.run([go(), "build", "-o", program, source], check=True, env=os.environ | {"GOTOOLCHAIN": "local"})
    return program


def rendered_by_go(renderer: Path, template: str, turns: list[dict[str, str]]) -> str:
    given = json.dumps({"Template": template, "Turns": turns})
    return subprocess.run([renderer], input=given, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_go_renders_a_conversation_as_the_chat_template_does(name: str, renderer: Path) -> None:
    template, system = TEMPLATES[name], [] if name == "without a system prompt" else ["Be brief."]
    source = go_template(parts(template))
    assert source
    turns = [{"System": system[0] if system else "", "Prompt": "Who are you?", "Response": "A model."}]
    turns.append({"System": "", "Prompt": "Whose?", "Response": ""})
    messages = [{"role": "system", "content": text} for text in system]
    messages += [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A model."}]
    messages.append({"role": "user", "content": "Whose?"})
    said = rendered_by_go(renderer, source, turns)
    expected = render(template)(messages, True).removeprefix("<s>")
    again = "<s>" if name == "brackets" else ""  # that template writes BOS before every turn, Ollama before the first
    end = parts(template).end  # Ollama stops where the answer begins
    assert said.removesuffix(end) == expected.replace(f"</s>{again}", "</s>")


def test_what_ends_an_answer_is_told_to_ollama() -> None:
    text = modelfile("m-Q4_K_M.gguf", parts(CHATML), ["</s>", "<|im_end|>"])
    assert text.startswith('FROM ./m-Q4_K_M.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n')
    assert text.endswith('PARAMETER stop "</s>"\nPARAMETER stop "<|im_end|>"\n')


def test_a_template_without_such_parts_is_left_to_ollama() -> None:
    assert take_apart(render(ODD), "<s>") is None
    assert modelfile("m.gguf", None, ["<|end|>"]) == 'FROM ./m.gguf\nPARAMETER stop "<|end|>"\n'


def test_text_that_go_would_run_is_not_put_into_a_template() -> None:
    form = plain().model_copy(update={"user": "{{ .Env }}"})
    assert go_template(form) is None
    assert "TEMPLATE" not in modelfile("m.gguf", form, [])


def test_a_model_without_a_template_gets_the_prompt_as_it_is() -> None:
    assert modelfile("m.gguf", plain(), ["</s>"]) == (
        'FROM ./m.gguf\nTEMPLATE """{{ .Prompt }}{{ .Response }}"""\nPARAMETER stop "</s>"\n'
    )
    assert plain().shown() == "{prompt}"
