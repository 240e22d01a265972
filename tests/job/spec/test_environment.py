"""A spec from FINETUNE__… variables: over a file, or alone."""

import re
from typing import Any

import pytest

from job.errors import UsageInvalid
from job.spec.load import load
from job.spec.overlay import OTHERS, assignments, misspelt
from tests import ROOT
from tests.job.spec.refusals import BASE, ENV, refused


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(write: Any) -> None:
    path = write(BASE + "lora: {r: 16, alpha: 16}\n")
    spec = load(path, {"FINETUNE__LORA__R": "64", "finetune__Training__learning_RATE": "1e-4", "OTHER__LORA__R": "3"})
    assert (spec.lora.r, spec.lora.alpha, spec.lora.dropout) == (64, 16, 0.1)
    assert spec.training and spec.training.learning_rate == 1e-4


VALUES = [
    ("TRAINING__LEARNING_RATE", "1e-4", lambda spec: spec.training.learning_rate == 1e-4),
    ("TRAINING", "null", lambda spec: spec.training is None),
    ("TRAINING", '{"max_steps": 5}', lambda spec: (spec.training.max_steps, spec.training.logging_steps) == (5, 7)),
    ("TRAINING__FP16", "true", lambda spec: spec.training.fp16 is True),
    ("TRAINING__FP16", "Off", lambda spec: spec.training.fp16 is False),
    ("TRAINING__FP16", "auto", lambda spec: spec.training.fp16 == "auto"),
    ("TRAINING__PACKING", "1", lambda spec: spec.training.packing is True),
    ("TRAINING__PAD_TOKEN", "<|finetune_pad|>", lambda spec: spec.training.pad_token == "<|finetune_pad|>"),
    ("EXPORT__TYPES", '["q8_0", "F16"]', lambda spec: spec.export.types == ["q8_0", "f16"]),
    ("LORA__TARGET_MODULES", "all-linear", lambda spec: spec.lora.target_modules == "all-linear"),
    ("DATASET__LIMIT", "10", lambda spec: spec.dataset.limit == 10),
    ("DATASET__COLUMNS__TEXT", "7", lambda spec: spec.dataset.columns == {"text": "7"}),
    ("DATASET", '[{"id": "c/d"}, {"id": "e/f"}]', lambda spec: [data.id for data in spec.dataset] == ["c/d", "e/f"]),
    ("RUN__ID", "42", lambda spec: spec.run.id == "42"),
    ("MODEL__REVISION", "1234567", lambda spec: spec.model.revision == "1234567"),
    ("PUBLISH__NAME", "true", lambda spec: spec.publish.name == "true"),
    ("PUBLISH__HUB__REPO_ID", "me/quotes", lambda spec: spec.publish.hub.repo_id == "me/quotes"),
    ("CHAT__SYSTEM", "[be brief]", lambda spec: spec.chat.system == "[be brief]"),
    ("CHAT__SYSTEM", "null", lambda spec: spec.chat.system is None),
    ("CHAT__SYSTEM", '"null"', lambda spec: spec.chat.system == "null"),
    ("CHAT__SYSTEM", "", lambda spec: spec.chat.system == ""),
    ("LOAD__BITS", "8", lambda spec: spec.load.bits == 8),
]


@pytest.mark.parametrize(("name", "value", "holds"), VALUES)
def test_a_variable_sets_its_field(write: Any, name: str, value: str, holds: Any) -> None:
    path = write(BASE + "training: {logging_steps: 7}\nchat: {system: old}\npublish: {hub: null}\n")
    assert holds(load(path, {ENV + name: value}))


def test_a_spec_can_come_from_the_environment_alone() -> None:
    assert load(None, {"FINETUNE__MODEL__ID": "gpt2", "FINETUNE__DATASET__ID": "squad"}).model.id == "gpt2"


LISTED = "dataset:\n  - {id: a/b}\n  - {id: c/d}\nmodel: {id: e/f}\n"
WRONG_VARIABLES = [
    (BASE, {"TRAINING__FP16": "fast"}, 'training.fp16 (FINETUNE__TRAINING__FP16): "fast" ->'),
    (BASE, {"TRANING__MAX_STEPS": "5"}, "traning (FINETUNE__TRANING__MAX_STEPS): a mapping -> unknown; did you mean"),
    (BASE, {"LEARNING_RATE": "5"}, "learning_rate (FINETUNE__LEARNING_RATE): 5 -> unknown; did you mean training."),
    (BASE, {"EXPORT__TYPES": "q4_k_m,q8_0"}, "(FINETUNE__EXPORT__TYPES):", ),
    (BASE, {"EXPORT__TYPES": "[q4_k_m, q8_0]"}, 'not a list; write ["q4_k_m", "q8_0"]'),
    (BASE, {"EXPORT__TYPES__0": "q8_0"}, "export.types (FINETUNE__EXPORT__TYPES__0): a mapping -> not a list"),
    (LISTED, {"DATASET__LIMIT": "5"}, "FINETUNE__DATASET__LIMIT -> dataset is a list here; set it as a whole, as JSON"),
    (BASE, {"MODEL__ID__X": "5"}, "FINETUNE__MODEL__ID__X -> model.id is not a mapping here; set it as a whole"),
    (BASE, {"TRAINING": "null", "TRAINING__FP16": "true"}, "TRAINING__FP16 -> FINETUNE__TRAINING is null; write one"),
    (BASE, {"LORA__R": "1", "lora__r": "2"}, "FINETUNE__lora__r -> FINETUNE__LORA__R sets the same"),
    (BASE, {"LORA__": "1"}, "FINETUNE__LORA__ -> a name is missing; write FINETUNE__SECTION__FIELD"),
    (BASE, {"RUN__SEED": ""}, 'run.seed (FINETUNE__RUN__SEED): "" -> not a number'),
    (BASE, {"RUN__SEED": "NaN"}, "run.seed (FINETUNE__RUN__SEED): NaN -> not a finite number"),
    (BASE, {"RUN__SEED": "true"}, "run.seed (FINETUNE__RUN__SEED): true -> a number is expected, not true or false"),
    (BASE, {"CHAT__SYSTEM": "\udcff"}, "FINETUNE__CHAT__SYSTEM -> not UTF-8 text"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "variables", "said"), WRONG_VARIABLES)
def test_a_wrong_variable_is_named(write: Any, text: str, variables: dict[str, str], said: str) -> None:
    message = refused(write(text), {ENV + name: value for name, value in variables.items()})
    assert said in message and "has 1 fault:" in message


ALMOST = [
    ("FINETUNE_TRAINING_LEARNING_RATE", "FINETUNE__TRAINING__LEARNING_RATE"),
    ("FINETUNE_TRAINING__LEARNING_RATE", "FINETUNE__TRAINING__LEARNING_RATE"),
    ("FINETUNE_LEARNING_RATE", "FINETUNE__TRAINING__LEARNING_RATE"),
    ("FINETUNE_TRAINING_LERNING_RATE", "FINETUNE__TRAINING__LEARNING_RATE"),
    ("finetune_model_id", "FINETUNE__MODEL__ID"),
    ("FINTUNE__TRAINING__LEARNING_RATE", "FINETUNE__TRAINING__LEARNING_RATE"),
    ("FINETUNE_WEBHOOK_ULR", "FINETUNE_WEBHOOK_URL"),
    ("FINETUNE_LAMA", "FINETUNE_LLAMA"),
]


@pytest.mark.parametrize(("name", "meant"), ALMOST)
def test_a_variable_with_almost_the_name_of_one_that_is_read_is_refused(write: Any, name: str, meant: str) -> None:
    message = refused(write(BASE), {name: "1e-4"})
    assert f"{name} -> not a variable that is read; did you mean {meant}?" in message and "has 1 fault:" in message


def test_variables_of_others_are_not_ours() -> None:
    service = {"FINETUNE_RUN_SERVICE_HOST": "10.0.0.1", "FINETUNE_RUN_PORT": "tcp://10.0.0.1:80", "FINETUNE_PORT": "80"}
    others = {"PATH": "/bin", "SOME__THING": "x", "MODEL_ID": "x"}
    assert not list(misspelt(service | others | dict.fromkeys(OTHERS, "x")))


def test_the_page_of_the_environment_has_each_of_our_variables() -> None:
    page = (ROOT / "docs" / "environment.md").read_text()
    assert set(re.findall(r"^\| `(FINETUNE_[A-Z0-9_]+)` \|", page, flags=re.M)) == set(OTHERS)


def test_the_command_line_wins_over_the_environment_and_its_last_value_counts(write: Any) -> None:
    given = assignments(["lora.r=8", "Lora.R=32", 'export.types=["q8_0"]', "training=null"])
    spec = load(write(BASE), {ENV + "LORA__R": "64"}, given)
    assert (spec.lora.r, spec.export.types, spec.training) == (32, ["q8_0"], None)


def test_a_spec_can_come_from_the_command_line_alone() -> None:
    assert load(None, {}, assignments(["model.id=gpt2", "dataset.id=squad"])).model.id == "gpt2"


WRONG_SETS = [
    ("lora.rr=8", "lora.rr (--set lora.rr): 8 -> unknown; did you mean lora.r?"),
    ("model.id.x=8", "--set model.id.x -> model.id is not a mapping here; set it as a whole, as JSON, in model.id"),
    ("lora..r=8", "--set lora..r -> a name is missing; write section.field=value"),
    ("run.seed=", 'run.seed (--set run.seed): "" -> not a number'),
]


@pytest.mark.parametrize(("text", "said"), WRONG_SETS)
def test_a_wrong_value_of_the_command_line_is_named(write: Any, text: str, said: str) -> None:
    assert said in refused(write(BASE), {}, assignments([text]))


@pytest.mark.parametrize("text", ["lora.r", "=8", ""])
def test_what_sets_no_field_is_refused(text: str) -> None:
    with pytest.raises(UsageInvalid, match="--set"):
        assignments([text])
