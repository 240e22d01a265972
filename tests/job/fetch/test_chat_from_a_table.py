"""A table of questions and answers becomes conversations for a model that has a chat template, and only for that."""

import json
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from jinja2.sandbox import ImmutableSandboxedEnvironment

from job.chat.portable import portable_template
from job.chat.prompt_format import take_apart
from job.errors import SpecInvalid
from job.fetch import sources, template
from job.fetch import stage as fetch_stage
from job.spec import JobSpec
from job.spec.load import load
from job.spec.ready import READY
from tests.hub_server import Hub
from tests.job.fetch.models import GOOD

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
TABLES: dict[str, dict[str, str]] = {
    "qa": {"question": "What is {n}?", "answer": "It is {n}."},
    "pairs": {"prompt": "What is {n}?", "completion": "It is {n}."},
    "responses": {"prompt": "What is {n}?", "response": "It is {n}."},
    "queries": {"query": "What is {n}?", "response": "It is {n}."},
    "in and out": {"input": "What is {n}?", "output": "It is {n}."},
    "alpaca": {"instruction": "What is {n}?", "output": "It is {n}."},
    "alpaca with an empty input": {"instruction": "What is {n}?", "input": "", "output": "It is {n}."},
}


def table(folder: Path, name: str = "qa") -> Path:
    rows = [{key: text.replace("{n}", str(n)) for key, text in TABLES[name].items()} for n in range(20)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def model(folder: Path, **files: Any) -> Path:
    path = folder / "model"
    path.mkdir()
    for name, data in GOOD.items():
        (path / name).write_bytes(data)
    for name, text in files.items():
        (path / name.replace("_jinja", ".jinja").replace("_json", ".json")).write_text(text)
    return path


def chat_model(folder: Path) -> Path:
    return model(folder, chat_template_jinja=CHATML)


def spec_of(model: Path | str, rows: Path, *, chat: dict[str, Any] | None = None, **dataset: Any) -> JobSpec:
    data = {"id": str(rows), "eval_fraction": 0} | dataset
    return JobSpec.model_validate({"model": {"id": str(model)}, "dataset": data, "chat": chat or {}})


def fetched(spec: JobSpec, folder: Path) -> tuple[str, dict[str, Any]]:
    """The kind of the rows, and the first."""
    data = fetch_stage.run(spec, fetch_stage.Inputs(sources=sources.resolve(spec)), folder / "work").data
    assert data
    row = json.loads(data.train.read_text().splitlines()[0])
    return data.kind, {name: held for name, held in row.items() if name != "source"}


TURNS = {"messages": [{"role": "user", "content": "What is 0?"}, {"role": "assistant", "content": "It is 0."}]}


@pytest.mark.parametrize("name", TABLES)
def test_on_a_chat_model_a_table_becomes_conversations(name: str, tmp_path: Path) -> None:
    spec = spec_of(chat_model(tmp_path), table(tmp_path, name))
    assert fetched(spec, tmp_path) == ("messages", TURNS)


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config_json": json.dumps({"chat_template": CHATML})},
        {"tokenizer_config_json": json.dumps({"chat_template": [{"name": "default", "template": CHATML}]})},
        {"chat_template_json": json.dumps({"chat_template": CHATML})},
    ],
    ids=["a text", "named ones", "the processor's"],
)
def test_a_template_in_a_config_counts_too(files: dict[str, str], tmp_path: Path) -> None:
    assert fetched(spec_of(model(tmp_path, **files), table(tmp_path)), tmp_path) == ("messages", TURNS)


def test_a_template_of_the_spec_counts_on_a_base_model(tmp_path: Path) -> None:
    spec = spec_of(model(tmp_path), table(tmp_path), chat={"template": "plain", "system": "Be brief."})
    kind, row = fetched(spec, tmp_path)
    assert kind == "messages"
    assert row["messages"] == [{"role": "system", "content": "Be brief."}, *TURNS["messages"]]


def test_what_the_spec_says_of_the_format_wins(tmp_path: Path) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    spec = spec_of(chat_model(tmp_path), table(tmp_path), format="prompt_completion", columns=columns)
    assert fetched(spec, tmp_path) == ("prompt_completion", {"prompt": "What is 0?", "completion": "It is 0."})


@pytest.mark.parametrize("has_template", [True, False])
def test_a_system_prompt_that_plain_text_has_no_place_for_is_refused(has_template: bool, tmp_path: Path) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    made = chat_model(tmp_path) if has_template else model(tmp_path)
    explicit: dict[str, Any] = {"format": "prompt_completion", "columns": columns} if has_template else {}
    spec = spec_of(made, table(tmp_path), chat={"system": "Be brief."}, **explicit)
    for tell in (lambda: list(template.described_here(spec)), lambda: fetched(spec, tmp_path)):
        with pytest.raises(SpecInvalid, match=r"chat\.system: the rows of .* are plain text") as told:
            tell()
        assert (template.READY_YAML in str(told.value)) is not has_template


def test_one_table_that_the_spec_keeps_as_pairs_keeps_the_others(tmp_path: Path) -> None:
    rows = table(tmp_path)
    kept = {"id": str(rows), "format": "prompt_completion", "columns": {"prompt": "question", "completion": "answer"}}
    given = {"model": {"id": str(chat_model(tmp_path))}, "dataset": [{"id": str(rows)}, kept]}
    assert fetched(JobSpec.model_validate(given), tmp_path)[0] == "prompt_completion"


def test_on_a_base_model_pairs_are_plain_text_and_check_says_how_to_choose(tmp_path: Path) -> None:
    spec = spec_of(model(tmp_path), table(tmp_path))
    (line,) = template.described_here(spec)
    assert "rows.jsonl: read as prompt_completion (question, answer); plain text: question, a line break, then" in line
    assert "(the first row: 'What is 0?', a line break, 'It is 0.')" in line
    assert template.READY_YAML in line
    with structlog.testing.capture_logs() as records:
        assert fetched(spec, tmp_path) == ("prompt_completion", {"prompt": "What is 0?\n", "completion": "It is 0."})
    assert [one["log_level"] for one in records if one["event"] == "data.read_as"] == ["warning"]


def test_a_prompt_and_its_completion_stay_as_they_are(tmp_path: Path) -> None:
    spec = spec_of(model(tmp_path), table(tmp_path, "pairs"))
    assert fetched(spec, tmp_path) == ("prompt_completion", {"prompt": "What is 0?", "completion": "It is 0."})


def test_the_ready_template_in_a_message_can_be_pasted_into_a_spec(tmp_path: Path) -> None:
    rows = table(tmp_path, "alpaca")
    base = model(tmp_path)
    spec = spec_of(base, rows)
    with pytest.raises(SpecInvalid, match="no chat template") as told:
        list(template.described_here(spec))
    with pytest.raises(SpecInvalid, match="no chat template"):
        fetched(spec, tmp_path)
    assert not (tmp_path / "work" / "data").exists()
    ready = next(line.strip() for line in str(told.value).splitlines() if "template:" in line)
    path = tmp_path / "spec.yaml"
    path.write_text(f"model: {{id: {base}}}\ndataset: {{id: {rows}, eval_fraction: 0}}\n{ready}\n")
    pasted = load(path, {})
    assert pasted.chat.template == READY["plain"]
    assert fetched(pasted, tmp_path) == ("messages", TURNS)
    columns = str(told.value).split("dataset.columns: {")[1].split("}")[0]
    plain = dict(pair.split(": ") for pair in columns.split(", "))
    assert fetched(spec_of(base, rows, format="prompt_completion", columns=plain), tmp_path)[0] == "prompt_completion"


def test_a_model_on_the_hub_is_asked_before_its_weights_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.add("someone/base", GOOD)
    hub.add("someone/chat", {**GOOD, "chat_template.jinja": CHATML.encode()})
    rows = table(tmp_path, "alpaca")
    with pytest.raises(SpecInvalid, match="no chat template"):
        fetched(spec_of("someone/base", rows), tmp_path)
    assert not hub.asked("safetensors")
    assert fetched(spec_of("someone/chat", rows), tmp_path)[0] == "messages"
    (line,) = template.described_here(spec_of("someone/chat", rows))
    assert "needs a chat template" in line


def render(source: str) -> Any:
    compiled = ImmutableSandboxedEnvironment().from_string(portable_template(source))

    def rendered(messages: list[dict[str, str]], answers: bool) -> str:
        return compiled.render(messages=messages, add_generation_prompt=answers, bos_token="<s>", eos_token="</s>")

    return rendered


def test_the_ready_template_ends_an_answer_and_can_be_said_in_ollamas_language() -> None:
    form = take_apart(render(READY["plain"]), "<s>")
    assert form
    assert form.end == "</s>\n"
    assert form.shown() == "System: {system}\nUser: {prompt}\nAssistant:"
    assert render(READY["plain"])(TURNS["messages"], False) == "<s>User: What is 0?\nAssistant: It is 0.</s>\n"
