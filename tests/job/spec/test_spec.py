"""The spec's model: the recipe's values are its defaults, and what it refuses it refuses by itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from job.spec.quants import EVERY_TYPE

BOTH = {"model": {"id": "owner/name"}, "dataset": {"id": "owner/rows"}}


def spec(**sections: Any) -> JobSpec:
    return JobSpec.model_validate(BOTH | sections)


def faults(**sections: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        spec(**sections)
    return "\n".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in caught.value.errors())


def test_a_model_and_a_data_set_are_a_whole_spec() -> None:
    assert spec().training is not None
    assert [data.id for data in spec().datasets] == ["owner/rows"]


def test_the_defaults_are_the_recipe() -> None:
    dumped = spec().model_dump(mode="json")
    recipe = {
        "load": {"bits": 4, "quant_type": "nf4", "double_quant": False},
        "lora": {"r": 8, "alpha": 32, "dropout": 0.1, "target_modules": "auto"},
        "training": {
            "num_train_epochs": 1,
            "max_steps": -1,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": "auto",
            "learning_rate": 2e-4,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.03,
            "weight_decay": 0.001,
            "max_grad_norm": 0.3,
            "optim": "paged_adamw_8bit",
            "group_by_length": True,
            "packing": False,
            "logging_steps": 25,
            "report_to": ["tensorboard"],
        },
        "evaluation": {"context": 512, "threads": [4, 8]},
    }
    for section, values in recipe.items():
        assert {name: dumped[section][name] for name in values} == values


def test_a_spec_cannot_be_changed_once_it_is_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec().run.seed = 7  # type: ignore[misc]


@pytest.mark.parametrize("name", ["Q4_K_M", "q4_k_m", "Q4-K-M", " q4_k_m "])
def test_a_quantization_type_is_known_in_any_case(name: str) -> None:
    assert spec(export={"types": [name]}).export.types == ["q4_k_m"]


def test_every_type_that_llama_cpp_offers_is_taken() -> None:
    assert spec(export={"types": list(EVERY_TYPE)}).export.types == list(EVERY_TYPE)


def test_a_type_that_is_named_twice_is_made_once() -> None:
    assert spec(export={"types": ["Q4_K", "q4_k_m", "q8_0", "Q8_0"]}).export.types == ["q4_k_m", "q8_0"]


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("q4_l", "q4_0"), ("q6_k_s", "q6_k"), ("q5_k_l", "q5_k_m"), ("iq4_ns", "iq4_nl"), ("Q3_K_XL", "q3_k_l")],
)
def test_a_type_from_a_tutorial_that_does_not_exist_is_answered_with_its_neighbours(wrong: str, meant: str) -> None:
    said = faults(export={"types": [wrong]})
    assert meant in said.partition("did you mean")[2]


GOOD_MODELS = [
    "gpt2",
    "owner/name",
    "meta-llama/Llama-2-7b-chat-hf",
    "s3://bucket/base",
    "./base",
    "/data/base",
    "~/base",
]
GOOD_DATA = [
    "squad", "Abirate/english_quotes", "s3://bucket/rows.jsonl", "https://example.com/rows.csv", "rows.jsonl",
    "http://localhost:8000/rows.jsonl", "http://127.0.0.1/rows.txt", "http://[::1]:80/x.json", "data/a/rows.jsonl.gz",
    "/data/rows.parquet", "../rows", "https://huggingface.co/datasets/a/b/resolve/main/rows.jsonl",
]  # fmt: skip
BAD_IDS = [
    "", " ", "owner/", "/".join("abc"), "owner//name", "owner/name/", "ow ner/name", "-owner/name", "owner/na--me",
    "owner/na..me", "owner/name.git", "o" * 97, "ownér/name", "s3://", "s3:///key", "s3://UP/key", "s3://b/key",
    "s3://bucket/a b", "s3://bucket/../b", "gs://bucket/x", "hf://a/b/c", "C:\\models\\base", "a\nb", "name ",
]  # fmt: skip


@pytest.mark.parametrize("place", GOOD_MODELS)
def test_a_model_comes_from_the_hub_s3_or_a_folder(place: str) -> None:
    assert spec(model={"id": place, "adapter": place}).model.id == place


@pytest.mark.parametrize("place", GOOD_DATA)
def test_rows_come_from_the_hub_s3_the_web_a_folder_or_a_file(place: str) -> None:
    assert spec(dataset={"id": place}).datasets[0].id == place


@pytest.mark.parametrize("place", BAD_IDS)
def test_what_is_no_id_is_refused_for_models_and_data(place: str) -> None:
    assert "model.id" in faults(model={"id": place})
    assert "dataset" in faults(dataset={"id": place})


def test_a_path_of_several_parts_is_a_folder_where_it_exists(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models/llama/7b").mkdir(parents=True)
    assert "owner/name" in faults(model={"id": "models/llama/7b"})
    monkeypatch.chdir(tmp_path)
    assert spec(model={"id": "models/llama/7b"}).model.id == "models/llama/7b"


def test_an_s3_prefix_loses_its_last_slash() -> None:
    assert spec(run={"store": "s3://bucket/runs/"}).run.store == "s3://bucket/runs"


NUMBERS = [
    ("training", "learning_rate"), ("training", "max_steps"), ("training", "num_train_epochs"),
    ("training", "save_steps"),
    ("training", "warmup_ratio"), ("training", "weight_decay"), ("lora", "r"), ("lora", "alpha"), ("lora", "dropout"),
    ("load", "bits"), ("run", "seed"), ("evaluation", "context"), ("evaluation", "samples"), ("dataset", "limit"),
    ("dataset", "weight"), ("dataset", "eval_fraction"),
]  # fmt: skip


@pytest.mark.parametrize(("section", "field"), NUMBERS)
@pytest.mark.parametrize("value", [True, False, "much", [], float("nan"), float("inf"), -2, 1e400])
def test_no_number_takes_a_switch_a_word_or_what_is_out_of_range(section: str, field: str, value: Any) -> None:
    base = {"id": "owner/rows"} if section == "dataset" else {}
    assert field in faults(**{section: base | {field: value}})


@pytest.mark.parametrize("field", ["training.max_steps", "training.save_steps", "lora.r", "run.seed", "dataset.limit"])
def test_no_whole_number_is_larger_than_the_libraries_can_hold(field: str) -> None:
    section, name = field.split(".")
    base = {"id": "owner/rows"} if section == "dataset" else {}
    assert name in faults(**{section: base | {name: 10**12}})


def test_numbers_and_switches_may_be_quoted() -> None:
    made = spec(
        training={"learning_rate": "2e-4", "max_steps": "10", "fp16": "off", "packing": "True"}, load={"bits": "8"}
    )
    assert made == spec(
        training={"learning_rate": 2e-4, "max_steps": 10, "fp16": False, "packing": True}, load={"bits": 8}
    )


HELD_OUT = {"id": "owner/rows", "eval_fraction": 0}
CROSS = [
    ({"dataset": None}, "dataset: training needs a data set"),
    ({"dataset": []}, "dataset: training needs a data set"),
    ({"training": {"fp16": True, "bf16": True}}, "training.fp16: training.bf16 is true too"),
    ({"training": {"trainer": "transformers", "packing": True}}, "training.packing: only `trainer: trl`"),
    ({"training": {"trainer": "transformers", "assistant_only_loss": True}}, "training.assistant_only_loss: only"),
    ({"training": {"early_stopping_patience": 2}, "dataset": HELD_OUT}, "early_stopping_patience: needs held-out rows"),
    ({"training": {"load_best_model_at_end": True}, "dataset": HELD_OUT}, "load_best_model_at_end: needs held-out"),
    ({"training": {"load_best_model_at_end": True, "eval_steps": 30}}, "training.save_steps: a best checkpoint"),
    ({"dataset": {"id": "a/b", "eval_split": "train"}}, "dataset.eval_split: these are the rows to train on"),
    ({"dataset": [BOTH["dataset"], {"id": "a/b", "eval_split": "train"}]}, "dataset.1.eval_split"),
    ({"dataset": {"id": "a/b", "text": "t", "format": "alpaca"}}, "dataset.text: format alpaca has no text column"),
    (
        {"dataset": {"id": "a/b", "format": "text"}, "training": {"completion_only_loss": True}},
        "training.completion_only_loss: the rows of dataset are plain text",
    ),
    (
        {"dataset": {"id": "a/b", "too_long": "drop"}, "training": None},
        "dataset.too_long: without training no row is cut",
    ),
    ({"lora": {"modules_to_save": ["q_proj"]}}, "lora.modules_to_save: q_proj: in target_modules too"),
    ({"training": None, "export": {"adapter": True}}, "export.adapter: without training or model.adapter"),
    ({"lora": {"use_dora": True}, "export": {"adapter": True}}, "export.adapter: a GGUF adapter can hold neither DoRA"),
    ({"load": {"bits": 16}, "export": {"merge_base": "quantized"}}, "export.merge_base: with load.bits 16"),
    ({"training": None, "dataset": None, "export": {"types": ["iq1_s"]}}, "export.types: iq1_s needs an importance"),
    ({"export": {"types": ["iq2_xs", "q8_0"], "imatrix": "none"}}, "export.imatrix: iq2_xs in export.types needs one"),
    ({"export": {"types": ["q8_0"], "imatrix": "./my.gguf"}}, "export.imatrix: none of export.types is made with"),
    ({"evaluation": {"judge": False, "text": {"id": "a/b"}}}, "evaluation.text: nothing is evaluated"),
    ({"training": None, "chat": {"add_tokens": ["<x>"]}}, "chat.add_tokens: the rows of added tokens are trained"),
    ({"model": {"id": "./m", "revision": "v2"}}, "model.revision: the model is not on the Hub"),
    ({"model": {"id": "s3://bucket/m", "revision": "v2"}}, "model.revision: the model is not on the Hub"),
    ({"dataset": {"id": "./rows", "revision": "v2"}}, "dataset.revision: the rows are not on the Hub"),
    ({"dataset": [BOTH["dataset"], {"id": "s3://bucket/x", "revision": "v2"}]}, "dataset.1.revision: the rows are not"),
    ({"dataset": {"id": "rows.jsonl", "split": "test"}}, "dataset.split: one file has no splits"),
    ({"dataset": {"id": "s3://bucket/rows.csv.gz", "config": "de"}}, "dataset.config: one file has no configs"),
    ({"dataset": {"id": "https://example.com/rows", "split": "test"}}, "dataset.split: one file has no splits"),
    ({"evaluation": {"text": {"id": "./t.txt", "split": "train"}}}, "evaluation.text.split: one file has no splits"),
    ({"evaluation": {"tasks": {"id": "./t.jsonl", "config": "a"}}}, "evaluation.tasks.config: one file has no configs"),
]  # fmt: skip


def test_what_a_folder_or_a_repository_has_is_no_contradiction() -> None:
    spec(model={"id": "a/b", "revision": "v2"}, dataset={"id": "./folder", "split": "test", "config": "de"})
    spec(dataset={"id": "s3://bucket/rows", "split": "test"}, evaluation={"text": {"id": "./t.txt"}})
    spec(export={"types": ["q4_k_m", "q8_0"], "imatrix": "./my.gguf"})


@pytest.mark.parametrize(("sections", "said"), CROSS)
def test_fields_that_contradict_each_other_are_a_fault(sections: dict[str, Any], said: str) -> None:
    assert said in faults(**sections)


def test_all_contradictions_are_named_at_once() -> None:
    said = faults(training={"fp16": True, "bf16": True}, load={"bits": 32}, export={"merge_base": "quantized"})
    assert "training.fp16" in said and "export.merge_base" in said


def test_quantizing_an_existing_model_needs_no_data_set() -> None:
    made = spec(training=None, dataset=None)
    assert made.training is None and made.datasets == []


def test_a_refused_value_is_not_repeated_by_the_model_itself() -> None:
    with pytest.raises(ValidationError) as caught:
        spec(run={"seed": "hf_thisMustNotBeRepeated0000"})
    assert "hf_this" not in str(caught.value)
