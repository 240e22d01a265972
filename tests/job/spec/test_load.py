"""Reading a spec: from YAML or JSON, into the same spec with the same digest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from job.artifacts import digest_of
from job.spec import JobSpec
from job.spec.load import load
from job.spec.source import MAX_BYTES
from tests.job.spec.refusals import BASE, refused


def digest(spec: JobSpec) -> str:
    return digest_of(spec.model_dump(mode="json"))


WRONG_FILES = [
    ("", "is empty"),
    ("# nothing yet\n", "is empty"),
    ("- model\n", "is not a mapping"),
    ("just words", "is not a mapping"),
    (b"\xff\xfem\x00", "is not UTF-8 text (byte 0)"),
    (b"model: \x00\x01", "characters that YAML does not allow"),
    ("model: {id: a/b\ndataset: {}", "line 2, column "),
    ("model:\n\tid: a/b\n", "line 2, column 1: found character '\\t'"),
    ("model: {id: a/b}\nmodel: {id: c/d}\n", "line 2, column 1: the key model is there twice"),
    ("model: {id: a/b}\n---\nmodel: {id: c/d}\n", "line 2, column 1: but found another document"),
    ("base: &base {id: a/b}\nmodel: *base\n", "line 2: aliases (*base) are not supported"),
    ("model: !!python/object:os.system {}\n", "line 1, column 8: could not determine a constructor"),
    ("run: {seed: " + "9" * 5000 + "}", "it contains an invalid number or date"),
    ("run: {id: 2026-99-99}", "it contains an invalid number or date"),
    ("model: " + "[" * 200 + "]" * 200, "nested too deeply"),
    ("model: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ("#" * (MAX_BYTES + 1), f"has more than {MAX_BYTES} bytes"),
]
WRONG_JSON = [
    ('{"model": {"id": "a/b"},}', "line 1, column 25: "),
    ('{"model": 1, "model": 2}', "the key model is there twice"),
    ('{"run": {"seed": ' + "9" * 5000 + "}}", "a number has too many digits"),
    ('{"model": {"id": "\\ud800"}}', "half of a surrogate pair"),
    ("[" * 100000, "nested too deeply"),
    ("  ", "is empty"),
]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [*(("spec.yaml", *one) for one in WRONG_FILES), *(("spec.json", *one) for one in WRONG_JSON)],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_cannot_be_read_exits_64_and_says_where(
    write: Any, name: str, content: str | bytes, said: str
) -> None:
    path = write(content, name)
    assert said in refused(path) and str(path) in refused(path)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    assert f"the spec {tmp_path / 'none.yaml'} does not exist" in refused(tmp_path / "none.yaml")
    assert "Is a directory" in refused(tmp_path)


def test_without_a_file_and_variables_the_ways_to_name_a_spec_are_shown() -> None:
    assert "FINETUNE_SPEC" in refused(None) and "FINETUNE__MODEL__ID" in refused(None)


def test_yaml_is_1_2_and_json_says_the_same(write: Any) -> None:
    yaml = write(BASE + "training: {learning_rate: 2e-4, warmup_ratio: 1e-2}\nchat: {system: off}\nrun: {seed: 010}\n")
    text = {"learning_rate": 2e-4, "warmup_ratio": 0.01}
    same = {"model": {"id": "owner/name"}, "dataset": {"id": "owner/rows"}, "training": text, "chat": {"system": "off"}}
    assert load(yaml, {}) == load(write(json.dumps(same | {"run": {"seed": 10}}, indent="\t"), "spec.json"), {})
    assert load(yaml, {}).chat.system == "off"


def test_a_file_with_a_byte_order_mark_is_read(write: Any) -> None:
    assert load(write(b"\xef\xbb\xbf" + BASE.encode()), {}).model.id == "owner/name"


def test_the_resolved_spec_is_the_same_spec_again(write: Any) -> None:
    spec = load(write(BASE + "lora: {alpha: 16}\nload: {bits: '8'}"), {})
    again = load(write(json.dumps(spec.model_dump(mode="json")), "again.json"), {})
    assert again == spec and digest(again) == digest(spec)


def test_specs_that_mean_the_same_have_the_same_digest(write: Any) -> None:
    plain = digest(load(write(BASE), {}))
    assert digest(load(write(BASE + "lora: {alpha: 32}\nexport: {types: [Q4_K, q5_k_m, Q8_0]}"), {})) == plain
    assert digest(load(write(BASE + "lora: {alpha: 33}"), {})) != plain
    assert re.fullmatch(r"[0-9a-f]{32}", plain)
