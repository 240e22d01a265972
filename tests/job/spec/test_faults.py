"""What a wrong spec is answered with: all faults at once, each with its place, its value and what to write."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.errors import SpecInvalid
from job.spec import JobSpec
from job.spec.faults import ELSEWHERE
from job.spec.load import load
from tests import ROOT
from tests.job.spec.refusals import BASE, refused

WRONG_FIELDS = [
    # what follows BASE, and the words that its one line must have
    ("learning_rate: 1e-4", ["learning_rate: 0.0001 -> unknown; did you mean training.learning_rate?"]),
    ("trainng: {}", ["trainng: a mapping -> unknown; did you mean training?"]),
    ("target_modules: [q_proj]", ['target_modules: ["q_proj"] ->', "did you mean lora.target_modules?"]),
    ("frobnicate: 1", ["frobnicate: 1 -> unknown; known here: recipe, model, dataset, chat,"]),
    ("lora: {dropuot: 0.1}", ["lora.dropuot: 0.1 -> unknown; did you mean lora.dropout?"]),
    ("lora: {lora_alpha: 16}", ["lora.lora_alpha: 16 ->", "did you mean lora.alpha?"]),
    ("lora: {rank: 16}", ["lora.rank: 16 ->", "did you mean lora.r?"]),
    ("lora: {r: 0}", ["lora.r: 0 -> out of range; write a whole number above 0 and up to 4096"]),
    ("lora: {r: 8.5}", ["lora.r: 8.5 -> not a whole number; write a whole number above 0"]),
    ("lora: {dropout: 1}", ["lora.dropout: 1 -> out of range; write a number from 0 and below 1"]),
    ("lora: {target_modules: q_proj}", ['lora.target_modules: "q_proj" -> not a list; write ["q_proj"]']),
    ("lora: {target_modules: []}", ["lora.target_modules: [] -> empty", "all-linear"]),
    ("lora: 16", ["lora: 16 -> not a mapping; write a mapping of r, alpha, dropout"]),
    ("lora:", ['lora: "" -> empty; write a mapping of r, alpha']),
    ("training:", ['training: "" -> empty', "or null"]),
    ("training: off", ['training: "off" -> not a mapping', "or null"]),
    ("training: {learningRate: 1e-4}", ["training.learningRate: 0.0001 ->", "did you mean training.learning_rate?"]),
    ("training: {learning_rate: 2}", ["training.learning_rate: 2 -> out of range; write a number above 0 and up to 1"]),
    ("training: {learning_rate: -2e-4}", ["training.learning_rate: -0.0002 -> out of range"]),
    ("training: {learning_rate: .nan}", ["training.learning_rate: NaN -> not a finite number"]),
    ("training: {learning_rate: .inf}", ["training.learning_rate: Infinity -> not a finite number"]),
    ("training: {learning_rate: true}", ["training.learning_rate: true -> a number is expected, not true or false"]),
    ("training: {learning_rate: fast}", ['training.learning_rate: "fast" -> not a number; write a number above 0']),
    ("training: {max_steps: 99999999999999999999}", ["training.max_steps: 99999999999999999999 -> out of range"]),
    (
        "training: {lr_scheduler_type: cosin}",
        ['lr_scheduler_type: "cosin" -> unknown; did you mean cosine? write one of'],
    ),
    ("training: {optim: paged_adamw}", ['training.optim: "paged_adamw" ->', "did you mean paged_adamw_", "sgd"]),
    ("training: {trainer: TRL}", ['training.trainer: "TRL" -> unknown; did you mean trl?']),
    ("training: {fp16: maybe}", ['training.fp16: "maybe" ->', "write auto or true or false"]),
    ("training: {packing: 3}", ["training.packing: 3 ->", "true or false"]),
    ("training: {report_to: [wandp]}", ['training.report_to.0: "wandp" ->', "wandb"]),
    ("training: {fp16: true, bf16: true}", ["training.fp16: true -> training.bf16 is true too; set one"]),
    ("training: {trainer: transformers, packing: true}", ["training.packing: true -> only `trainer: trl`"]),
    ("training: {max_seq_length: 512}", ["training.max_seq_length: 512 ->", "did you mean training.max_length?"]),
    ("load: {bits: 6}", ["load.bits: 6 -> unknown; write one of 4, 8, 16, 32"]),
    ("load: {bits: true}", ["load.bits: true ->", "4, 8, 16, 32"]),
    ("load: {load_in_4bit: true}", ["load.load_in_4bit: true ->", "did you mean load.bits?"]),
    ("load: {quant_type: nf8}", ['load.quant_type: "nf8" ->', "did you mean nf4?", "fp4"]),
    ("chat: null", ["chat: null -> not a mapping; write a mapping of template, add_tokens, system"]),
    ("chat: {system: 5}", ["chat.system: 5 -> not text; put it in quotes"]),
    (
        "export: {types: [q4_l]}",
        ['export.types.0: "q4_l" -> llama.cpp has no such type; did you mean q4_'],
    ),
    ("export: {types: [q6_k_s]}", ['export.types.0: "q6_k_s" ->', "did you mean q6_k?"]),
    ("export: {types: 'q4_k_m, q8_0'}", ['export.types: "q4_k_m, q8_0" -> not a list; write ["q4_k_m", "q8_0"]']),
    ("export: {types: []}", ["export.types: [] -> empty; write a list"]),
    ("export: {types: [4]}", ["export.types.0: 4 -> not text"]),
    ("export: {split_max_size: 4GB}", ['export.split_max_size: "4GB" -> did you mean 4G? Write a whole number']),
    ("export: {split_max_size: big}", ['export.split_max_size: "big" -> write a whole number and M or G, e.g. 4G']),
    ("export: {imatrix: atuo}", ['export.imatrix: "atuo" -> did you mean auto? Write auto, none, or the path']),
    ("export: {imatrix: null}", ["export.imatrix: null -> not text; write text"]),
    ("export: {types: [iq1_s], imatrix: none}", ['export.imatrix: "none" -> iq1_s in export.types needs one']),
    ("evaluation: {threads: []}", ["evaluation.threads: [] -> empty; write a list (each: a whole number above 0"]),
    ("evaluation: {threads: 4}", ["evaluation.threads: 4 -> not a list; write a list"]),
    ("evaluation: {threads: [0]}", ["evaluation.threads.0: 0 -> out of range"]),
    ("publish: {s3: 'gs://b/x'}", ['publish.s3: "gs://b/x" -> not an S3 address: gs://…; write s3://bucket/prefix']),
    ("publish: {s3: bucket/x}", ['publish.s3: "bucket/x" -> not an S3 address; write s3://bucket/prefix']),
    ("publish: {s3: 's3://'}", ['publish.s3: "s3://" -> no bucket is named; write s3://bucket/prefix']),
    ("publish: {s3: bucket/x}", ['publish.s3: "bucket/x" ->', "write s3://bucket/prefix"]),
    ("publish: {folder: 's3://bucket/x'}", ["publish.folder:", "not a folder", "publish.s3"]),
    ("publish: {hub: {repo_id: ../..}}", ['publish.hub.repo_id: "../.." -> not a valid Hub name']),
    ("publish: {hub: {repo_id: name}}", ['publish.hub.repo_id: "name" -> the owner is missing; write owner/name']),
    ("publish: {hub: {repo_id: ö/name}}", ['publish.hub.repo_id: "ö/name" -> not a valid Hub name']),
    ("publish: {hub: {private: true}}", ["publish.hub.repo_id: not set -> required; write owner/name"]),
    ("publish: {name: a/b}", ['publish.name: "a/b" -> not a portable file name']),
    ("run: {id: Run 1}", ['run.id: "Run 1" -> not a Kubernetes name']),
    ("run: {seed: -1}", ["run.seed: -1 -> out of range; write a whole number from 0"]),
    ("run: {store: 'gs://bucket/x'}", ['run.store: "gs://bucket/x" -> neither a folder nor an S3 address']),
    ("run: {seed: 2026-01-01}", ['run.seed: "2026-01-01" ->', "write a whole number"]),
    ('run: {"s\\u202ed": 1}', ["\\u202e", "unknown"]),
]
WRONG_SPECS = [
    ("dataset: {id: a/b}", ["model: not set -> required; write a mapping of id, revision, adapter"]),
    ("model: {}\ndataset: {id: a/b}", ["model.id: not set -> required; write A Hub id"]),
    ("model: gpt2\ndataset: {id: a/b}", ['model: "gpt2" -> not a mapping; write {id: "gpt2"}']),
    ("model: {id: a/b}", ["dataset: not set -> training needs a data set", "training: null"]),
    ("model: {id: a/b}\ndataset: squad", ['dataset: "squad" -> not a mapping; write {id: "squad"}']),
    ("model: {id: a/b}\ndataset: [squad]", ['dataset.0: "squad" -> not a mapping; write {id: "squad"}']),
    ("model: {id: a/b}\ndataset: []", ["dataset: [] -> training needs a data set"]),
    ("model: {id: a/b}\ndataset: [{id: c/d}, {id: e/f, wieght: 2}]", ["dataset.1.wieght: 2 ->", "dataset.weight"]),
    ("model: {id: a/b}\ndataset: {id: 'http://h/x'}", ['dataset.id: "http://h/x" ->', "write https://"]),
    ("model: {id: a/b}\ndataset: {id: 'ftp://h/x'}", ['dataset.id: "ftp://h/x" ->', "owner/name"]),
    ("model: {id: a/b}\ndataset: {id: c/d, limit: 0}", ["dataset.limit: 0 -> out of range", "above 0", "or null"]),
    ("model: {id: a/b}\ndataset: {id: c/d, columns: {text: 1}}", ["dataset.columns.text: 1 -> not text"]),
    ("model: {id: a/b}\ndataset: {id: c/d, format: sharegtp}", ['dataset.format: "sharegtp" ->', "sharegpt"]),
    ("model: {id: 'https://huggingface.co/a/b'}\ndataset: {id: c/d}", ["model.id:", "write a/b, s3://"]),
    ("model: {id: 5}\ndataset: {id: c/d}", ["model.id: 5 -> not text; put it in quotes"]),
    ("model: {id: a/b, revision: 'x y'}\ndataset: {id: c/d}", ['model.revision: "x y" -> not a valid git name']),
    ("training: null\nmodel: {id: a/b}\nexport: {adapter: true}", ["export.adapter: true -> without training or"]),
    (
        "training: null\nmodel: {id: a/b}\nexport: {types: [iq1_m]}",
        ["export.types:", "iq1_m needs an importance matrix"],
    ),
]


@pytest.mark.parametrize(
    ("text", "words"),
    [*((BASE + text, words) for text, words in WRONG_FIELDS), *WRONG_SPECS],
    ids=[text.replace("\n", " ") for text, _ in WRONG_FIELDS + WRONG_SPECS],
)
def test_a_wrong_spec_exits_64_with_the_path_the_value_and_what_is_accepted(write: Any, text: str, words: Any) -> None:
    said = refused(write(text))
    assert "has 1 fault:" in said
    for word in words:
        assert word in said.splitlines()[1]
    assert "docs/spec.md" in said.splitlines()[-1]


def test_all_faults_are_named_at_once_one_a_line_those_between_fields_too(write: Any) -> None:
    said = refused(
        write(
            "model: {id: a/b}\ndataset: {id: c/d, eval_split: train}\nrnu: {}\nlora: {r: -1}\n"
            "training: {fp16: true, bf16: true, packing: maybe, trainer: transformers}\nexport: {types: [q4_l]}\n"
        ),
        {"FINETUNE__RUN__SEED": "x"},
    )
    places = [line.split(":")[0].strip() for line in said.splitlines()[1:-1]]
    alone = ["rnu", "lora.r", "training.packing", "export.types.0", "run.seed (FINETUNE__RUN__SEED)"]
    assert sorted(places) == sorted([*alone, "training.fp16", "dataset.eval_split"])
    assert "has 7 faults" in said


def test_a_fault_of_a_field_does_not_drag_along_what_only_follows_from_it(write: Any) -> None:
    said = refused(write("model: {id: a/b}\ndatasets: {id: c/d}\n"))
    assert "did you mean dataset?" in said and "1 fault:" in said
    assert "1 fault:" in refused(write(BASE + "training: {fp16: true, bf16: perhaps}"))


def test_more_faults_than_anyone_reads_are_cut(write: Any) -> None:
    said = refused(write(BASE + "".join(f"key{n}: 1\n" for n in range(500))))
    assert "has more than 100 faults" in said and len(said.splitlines()) == 102


def test_a_long_value_is_shortened_and_control_characters_are_escaped(write: Any) -> None:
    said = refused(write(BASE + 'run: {id: "' + "x" * 500 + '"}\nlora: {r: "\\e[31m\\r\\n"}'))
    assert max(map(len, said.splitlines())) < 250
    assert "\x1b" not in said and "\r" not in said and "\\u001b[31m" in said


@settings(max_examples=150)
@given(
    data=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(
            {"model", "dataset", "training", "lora", "export", "types", "id", "hub", "publish", "threads", "columns"}
            | set(ELSEWHERE))) | st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=4),
        max_leaves=12,
    )
)  # fmt: skip
def test_whatever_a_file_holds_it_is_a_spec_or_a_fault(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "spec.json"
    path.write_text(json.dumps(data))
    try:
        assert isinstance(load(path, {}), JobSpec)
    except SpecInvalid as error:
        assert "[not shown]" in error.message or "->" in error.message or "the spec" in error.message


def test_names_of_other_tools_lead_to_fields_that_exist() -> None:
    for place in ELSEWHERE.values():
        node: Any = JobSpec.model_validate({"model": {"id": "a/b"}, "dataset": {"id": "a/b"}}).model_dump(mode="json")
        *sections, name = place.split(".")
        if place != "publish.hub.repo_id":
            for section in sections:
                node = node[section]
            assert name in node


@pytest.mark.parametrize("text", ["run: {seed: -1}\n", "x"])
def test_the_program_exits_64_before_it_fetches_anything(write: Any, text: str) -> None:
    command = [sys.executable, "-m", "job", "check", str(write(BASE + text))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 64 and "Traceback" not in done.stderr and "error: the spec" in done.stderr


def test_the_types_are_listed_once_however_many_are_wrong(write: Any) -> None:
    said = refused(write(BASE + "export: {types: [zz, yy, q4]}"))
    assert said.count("mxfp4_moe") == 1 and "has 3 faults:" in said


def test_a_hash_in_a_path_is_not_taken_for_a_secret_in_the_advice(write: Any) -> None:
    path = "/home/Me/models/Llama2/snapshots/8cca527612d856d7d32bd94f8103728d614eb852"
    said = refused(write(f"model: {path}\ndataset: {{id: a/b}}\n"))
    assert 'write {id: "/home/Me/models/Llama2/snap' in said and "redacted" not in said


@pytest.mark.parametrize("secret", ["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4MTIz"])
def test_what_looks_like_a_key_is_not_shown(write: Any, secret: str) -> None:
    assert secret not in refused(write(f"model: {secret}\ndataset: {{id: a/b}}\n"))
