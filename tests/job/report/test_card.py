"""The model card: a head that the Hub takes, and what somebody needs who finds the files."""

import hashlib
import re
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from job.report.card import card, metadata
from job.report.documents import documents
from job.report.page import page
from tests.job.report.facts import facts, record, spec
from tests.job.report.hub_card_rules import faults_of

pytestmark = pytest.mark.slow  # llama-quantize says what it would do to each tensor


def text_of(**sections: Any) -> str:
    return card(facts(spec(**sections)), plot="plot.png")


def test_the_head_says_where_the_model_comes_from() -> None:
    head = ModelCard(text_of()).data.to_dict()
    assert head == {
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "base_model_relation": "finetune",
        "datasets": ["me/rows"],
        "language": ["en"],
        "library_name": "gguf",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "quantized_by": "me",
        "tags": ["gguf", "llama.cpp", "qlora"],
    }


@pytest.mark.parametrize(
    ("sections", "relation"),
    [
        ({}, "finetune"),
        ({"training": None}, "quantized"),
        ({"training": None, "model": {"id": "a/b", "adapter": "a/c"}}, "finetune"),
        ({"model": {"id": "./a/folder"}}, None),
    ],
)
def test_the_relation_to_the_base_is_what_was_done(sections: dict[str, Any], relation: str | None) -> None:
    assert metadata(facts(spec(**sections))).to_dict().get("base_model_relation") == relation


def test_the_hubs_own_validation_passes_and_would_not_pass_everything(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.repocard.get_session", session_to(hub.url))
    ModelCard(text_of()).validate()
    with pytest.raises(ValueError, match="base_model_relation"):
        ModelCard(text_of().replace("base_model_relation: finetune", "base_model_relation: child")).validate()


def session_to(url: str) -> Any:
    """huggingface_hub's own session, whose address for validation is a constant, turned to the local server."""
    from huggingface_hub.utils import get_session

    def session() -> Any:
        real = get_session()

        class Turned:
            def post(self, address: str, **options: Any) -> Any:
                return real.post(address.replace("https://huggingface.co", url), **options)

        return Turned()

    return session


@pytest.mark.parametrize(
    "damage", ["license: [1]", "language: English (US)", "tags: gguf", "datasets: me/rows", "a: : b"]
)
def test_the_rules_refuse_a_damaged_head(damage: str) -> None:
    assert faults_of(f"---\n{damage}\n---\n")
    assert not faults_of(text_of())


def test_it_tells_how_to_run_the_files_and_what_was_not_tested() -> None:
    text = text_of()
    for said in (
        "| Tuned-Q4_K_M.gguf | Q4_K_M | 105.0 MB | 5.10 | 6.46 ± 0.54 | 0.0330 | 96.7% | 41.5 |",
        "| (tuned model) | tuned (nf4) |",
        "![Size against perplexity and KL divergence](plot.png)",
        "llama-cli -hf me/Tuned-GGUF:Q8_0",
        "ollama create tuned -f Modelfile",
        "lms import Tuned-Q8_0.gguf",
        "    <|im_start|>system\n    {system}<|im_end|>\n    <|im_start|>user\n    {prompt}<|im_end|>",
        "QLoRA: 4 bits (nf4), rank 8, alpha 32",
        "3.080 before, 1.704 after",
        "Measured on 4,608 tokens",
        "What it was not tested for",
    ):
        assert said in text
    assert "\n\n\n" not in text


def test_speeds_are_compared_on_the_same_device_and_a_missing_one_is_an_empty_cell() -> None:
    records = dict(facts().records)
    on_gpu = {"device": "Tesla T4", "threads": 2, "generation_ms": 9.5, "gpu_layers": "20/33"}
    on_cpu = {"device": "a CPU", "threads": 4, "generation_ms": 41.5, "gpu_layers": "0", "generation_spread_ms": 0.71}
    for kind, speeds in (("f16", [on_gpu, on_cpu]), ("q2_k", []), ("q4_k_m", [on_cpu])):
        earlier = records[f"evaluate/{kind}"]
        metrics = earlier.metrics | {"speeds": speeds, "gpu_layers": "31/33"}
        records[f"evaluate/{kind}"] = earlier.model_copy(update={"metrics": metrics})
    found = replace(facts(), records=records)
    text = card(found, plot=None)
    assert "| ms/token, GPU | ms/token, 4 threads | GPU layers |" in text
    ends = {row.split(" | ")[1]: row.split(" | ")[-3:] for row in text.splitlines() if row.startswith("| ")}
    assert ends["F16"] == ["9.5", "41.5 ± 0.7", "20/33 |"]
    assert ends["Q2_K"] == ["", "", "31/33 |"]
    assert ends["Q4_K_M"] == ["", "41.5 ± 0.7", "0 |"]
    assert "generation on Tesla T4 or a CPU." in text
    assert '<td data-value="20">20/33</td>' in page(found)
    assert "GPU layers" not in text_of()


def test_what_was_measured_without_held_out_rows_is_said() -> None:
    given = spec(evaluation={"text": {"id": "me/book"}})
    speeds = [{"generation_ms": 41.5, "device": "a CPU", "threads": 4}]
    text = {"context": 512, "chunks": 3, "perplexity": {"value": 9.5, "error": 0.5}}
    found = facts(given, judged=False, trained=False)
    judged = {
        f"evaluate/{kind}": record("evaluate", type=kind, text=text, speeds=speeds) for kind in ("q4_k_m", "q8_0")
    }
    found = replace(found, records={**found.records, **judged})
    said = card(found, plot=None)
    assert "On text: 1,536 tokens of me/book, in windows of 512. ms/token: generation on a CPU." in said
    assert "9.50 ± 0.50" in said and "There were too few held-out rows to measure on." in said
    assert "Nothing was measured" not in said + page(found) and "rows like those" not in said


def test_the_adapters_settings_are_those_that_were_trained() -> None:
    """An adapter to start from keeps its own, and `auto` is a question."""
    found = facts()
    asked = "rank 8, alpha 32, dropout 0.1,\ntarget modules auto;"
    assert asked in card(found, plot=None), "what an earlier release has trained"
    lora = {"r": 64, "alpha": 128.0, "dropout": 0.0, "targets": ["k_proj", "qkv_proj"]}
    metrics = found.records["train"].metrics | {"lora": lora}
    train = found.records["train"].model_copy(update={"metrics": metrics})
    found = replace(found, records={**found.records, "train": train})
    assert "rank 64, alpha 128, dropout 0,\ntarget modules k_proj, qkv_proj;" in card(found, plot=None)


def test_nothing_is_claimed_of_what_was_not_measured() -> None:
    text = card(facts(spec(training=None), judged=False, trained=False), plot=None)
    assert "Nothing was measured" in text and "perplexity" not in text and "plot" not in text
    assert "How it was made" not in text


def test_card_modelfile_plot_and_report_come_together() -> None:
    found = documents(facts())
    assert set(found) == {"README.md", "Modelfile", "plot.png", "report/index.html"}
    assert found["plot.png"].startswith(b"\x89PNG")
    assert found["Modelfile"].startswith(b"FROM ./Tuned-Q8_0.gguf\nTEMPLATE")
    assert documents(facts()) == found


def test_the_card_says_what_the_template_is_and_whether_the_rows_were_trained_in_it() -> None:
    given = facts()
    data = given.records["fetch"].model_copy(update={"metrics": {"data": {"kind": "prompt_completion"}}})
    as_text = replace(given, records={**given.records, "fetch": data})
    bare = given.records["tokens"].model_copy(update={"metrics": {"vocabulary": {"template": None}, "format": None}})
    base = replace(given, records={**given.records, "tokens": bare})
    assert "The chat template is in the GGUF" in card(given, None)
    assert "trained on plain text, not on conversations" not in card(given, None)
    assert "trained on plain text, not on conversations" in card(as_text, None)
    assert "The model has no chat template" in card(base, None)
    assert "The chat template is in the GGUF" not in card(base, None)


def test_a_chat_template_writes_no_heading_link_or_html_into_the_card() -> None:
    given = facts()
    tokens = given.records["tokens"]
    form = tokens.metrics["format"] | {"user": "\r\r# Taken\r[click](https://evil.example)\r<b>", "system": None}
    metrics = tokens.metrics | {"format": form, "stops": ["</s>", "\r# Taken"]}
    records = {**given.records, "tokens": tokens.model_copy(update={"metrics": metrics})}
    lines = card(replace(given, records=records), None).splitlines()
    assert [line for line in lines if "Taken" in line or "evil" in line] == [
        r"    \r\r# Taken\r[click](https://evil.example)\r<b>{prompt}<|im_end|>",
        r"    \r# Taken",
    ]


def test_the_report_runs_its_own_script_alone() -> None:
    html = page(facts())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.S)
    allowed = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}';" in policy and "default-src 'none'" in policy


def test_a_folders_name_writes_no_link_into_the_card() -> None:
    text = text_of(model={"id": "./models/[click](https:evil.example)"}, dataset={"id": "./<img src=x>.jsonl"})
    body = text.split("---\n", 2)[2]
    assert "[click]" not in body and "<img" not in body


def test_no_secret_of_the_rows_or_of_an_address_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary & <token> of the job")
    address = "https://me:canary-pass@example.com/rows.jsonl?key=canary-key&code=canary-code#canary-part"
    given = facts(spec(dataset={"id": address}))
    found = {name: one.model_copy(update={"metrics": _with_canary(one.metrics)}) for name, one in given.records.items()}
    for name, content in documents(replace(given, records=found)).items():
        assert b"canary" not in content, name
    assert "rows.jsonl" in page(given)


def test_no_secret_in_a_name_of_the_spec_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_PWD", "canary-of-a-database")
    given = facts(spec(dataset={"id": "./rows of canary-of-a-database.jsonl"}))
    for name, content in documents(given).items():
        assert b"canary" not in content, name


def _with_canary(value: Any) -> Any:
    """Every text with the token in it."""
    if isinstance(value, dict):
        return {key: _with_canary(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_canary(item) for item in value]
    return f"{value} canary & <token> of the job" if isinstance(value, str) else value
