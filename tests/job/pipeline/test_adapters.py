"""Adapters as other trainers leave them: with a tokenizer, a template and an EOS of their own, and saved embeddings."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.fetch.adapter_base import compare_base
from job.fetch.listing import Listing
from tests.gguf_file import read_gguf
from tests.job_process import run_job
from tests.tiny_models import make_llama

pytestmark = pytest.mark.slow

ADDED = ["<|im_start|>", "<|im_end|>", "<tool>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("base") / "model", chat_template=False)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tokens more, embed_tokens and lm_head saved whole, and everything beside it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": ADDED, "eos_token": "<|im_end|>"})
    tokenizer.chat_template = TEMPLATE
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    torch.manual_seed(1)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens", "lm_head"])
    peft = get_peft_model(model, config)
    for name, weight in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    peft.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spec_of(base: Path, adapter: Path, tmp_path: Path, **sections: Any) -> dict[str, Any]:
    return {
        "model": {"id": str(base), "adapter": str(adapter)},
        "export": {"types": ["f16"]},
        "publish": {"name": "Tiny", "folder": str(tmp_path / "published")},
        "run": {"store": str(tmp_path / "store")},
        **sections,
    }


def check_published(tmp_path: Path) -> None:
    (gguf,) = (tmp_path / "published").glob("*.gguf")
    found = read_gguf(gguf).metadata
    assert sorted(found["tokenizer.ggml.tokens"][-3:]) == sorted(ADDED)
    assert found["tokenizer.ggml.tokens"][found["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert "<|im_start|>" in found["tokenizer.chat_template"]
    assert "<|im_end|>" in (tmp_path / "published" / "Modelfile").read_text()


def test_the_tokenizer_and_template_beside_an_adapter_are_those_of_the_published_file(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    ended = run_job(spec_of(base, adapter, tmp_path, training=None), tmp_path / "work")
    assert ended.code == 0, ended.output
    assert ended.named("fetch.adapter_tokenizer")
    check_published(tmp_path)


def test_training_goes_on_from_an_adapter_with_tokens_of_its_own(base: Path, adapter: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "Say a number."}, {"role": "assistant", "content": "One of them."}]
    rows.write_text(
        "".join(json.dumps({"messages": [*turns[:1], turns[1] | {"content": f"It is {n}."}]}) + "\n" for n in range(30))
    )
    training = {"max_steps": 2, "per_device_train_batch_size": 2, "max_length": 48}
    ended = run_job(spec_of(base, adapter, tmp_path, training=training, dataset={"id": str(rows)}), tmp_path / "work")
    assert ended.code == 0, ended.output
    check_published(tmp_path)


@pytest.mark.parametrize(
    ("named", "told"),
    [("someone/Other-1B", "warning"), ("unsloth/model-bnb-4bit", None), ("{base}", None), ("elsewhere/Model", None)],
)
def test_an_adapter_that_names_another_base_is_told(
    base: Path, adapter: Path, tmp_path: Path, hub: Any, named: str, told: str | None
) -> None:
    own = tmp_path / "adapter"
    own.mkdir()
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = named.format(base=base)
    (own / "adapter_config.json").write_text(json.dumps(config))
    with capture_logs() as records:
        compare_base(Listing.of(own), Listing.of(base))
    assert [one["log_level"] for one in records] == ([told] if told else [])


def test_a_renamed_mirror_of_the_base_is_recognized_by_its_config(
    base: Path, adapter: Path, tmp_path: Path, hub: Any
) -> None:
    config = json.loads((base / "config.json").read_text())
    own = tmp_path / "adapter"
    own.mkdir()
    for repo, change in (
        ("mirror/renamed", {"torch_dtype": "float16"}),
        ("other/model-of-its-own", {"hidden_size": 7}),
    ):
        hub.add(repo, {"config.json": json.dumps(config | change).encode()})
        (own / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": repo}))
        with capture_logs() as records:
            compare_base(Listing.of(own), Listing.of(base))
        assert [one["log_level"] for one in records] == ["warning" if "hidden_size" in change else "info"]
