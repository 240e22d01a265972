"""Which files hold a split: the Hub's conventions, and the card's `configs:`."""

from itertools import pairwise
from typing import Any

import pytest

from job.dataset import files_wanted
from job.errors import JobError
from job.spec.sections import Dataset

OTHERS = ["README.md", ".gitattributes", "dataset_infos.json", "LICENSE.txt", "load.py", ".cache/train.jsonl"]

LAYOUTS: dict[str, tuple[list[str], dict[str, Any], list[str]]] = {
    "shards": (
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
        {},
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
    ),
    "shards with a hash": (
        ["data/train-00000-of-00001-0123456789abcdef.parquet", "data/test-00000-of-00001-0123456789abcdef.parquet"],
        {"split": "test"},
        ["data/test-00000-of-00001-0123456789abcdef.parquet"],
    ),
    "a split of an own name": (
        ["data/train_sft-00000-of-00001.parquet", "data/train_gen-00000-of-00001.parquet"],
        {"split": "train_sft"},
        ["data/train_sft-00000-of-00001.parquet"],
    ),
    "folders of configurations": (
        ["main/train-00000-of-00001.parquet", "socratic/train-00000-of-00001.parquet"],
        {"config": "socratic"},
        ["socratic/train-00000-of-00001.parquet"],
    ),
    "folders of configurations and splits": (
        ["default/train/0000.parquet", "default/test/0000.parquet", "other/train/0000.parquet"],
        {"eval_split": "test"},
        ["default/train/0000.parquet", "default/test/0000.parquet"],
    ),
    "files of splits": (["train.jsonl", "validation.jsonl"], {}, ["train.jsonl"]),
    "another word for a split": (["train.csv", "dev.csv"], {"split": "validation"}, ["dev.csv"]),
    "a split as a word of a name": (["my-train.csv", "my-test.csv"], {}, ["my-train.csv"]),
    "a lone file": (["quotes.jsonl"], {}, ["quotes.jsonl"]),
    "files without a split beside a test": (["quotes.jsonl", "test.jsonl"], {}, ["quotes.jsonl"]),
    "parts in their order": (["a/part-10.txt", "a/part-2.txt"], {}, ["a/part-2.txt", "a/part-10.txt"]),
    "numbered files": (["train_2.jsonl", "train_1.jsonl", "test_1.jsonl"], {}, ["train_1.jsonl", "train_2.jsonl"]),
    "several formats": (["train.csv", "train.jsonl.gz", "train.parquet", "train.txt"], {}, ["train.parquet"]),
    "jsonl before json": (["train.json", "train.jsonl", "train.txt"], {}, ["train.jsonl"]),
    "a configuration as a file": (["fr.csv", "de.csv"], {"config": "de"}, ["de.csv"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_names_tell_which_files_hold_the_split(name: str) -> None:
    names, options, expected = LAYOUTS[name]
    assert files_wanted([*OTHERS, *names], Dataset(id="me/set", **options)) == expected


CARD = """---
license: mit
configs:
- config_name: quotes
  default: true
  data_files:
  - split: train
    path: "a/**/part-*.jsonl"
  - split: held
    path: ["h/?.jsonl", "h/[!x]y.jsonl"]
- config_name: books
  data_dir: b
---
# A set
"""
CARD_NAMES = ["a/part-1.jsonl", "a/x/y/part-2.jsonl", "a/other.jsonl", "h/1.jsonl", "h/ay.jsonl", "h/xy.jsonl"]


def test_the_card_goes_before_the_names() -> None:
    names = [*CARD_NAMES, "b/train.csv", "b/test.csv", "train.jsonl"]
    assert files_wanted(names, Dataset(id="me/set"), CARD) == ["a/part-1.jsonl", "a/x/y/part-2.jsonl"]
    assert files_wanted(names, Dataset(id="me/set", split="held"), CARD) == ["h/1.jsonl", "h/ay.jsonl"]
    assert files_wanted(names, Dataset(id="me/set", config="books", split="test"), CARD) == ["b/test.csv"]
    assert files_wanted(names, Dataset(id="me/set")) == ["train.jsonl"]


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz"))
BOMB += "configs: [{config_name: *z, data_dir: *z, data_files: [{split: *z, path: *z}]}]"


@pytest.mark.parametrize(
    "head", ["configs: [", "configs: 5", "[" * 2000, BOMB, "configs:\n- 5\n- data_files: {train: 7}", "\0"]
)
def test_a_card_that_makes_no_sense_is_passed_over(head: str) -> None:
    assert files_wanted(["train.csv"], Dataset(id="me/set"), f"---\n{head}\n---\n") == ["train.csv"]


def test_a_pattern_of_many_stars_ends_soon() -> None:
    card = "---\nconfigs:\n- data_files: '" + "**/" * 40 + "*a" * 40 + "*.csv'\n---\n"
    names = ["/".join("a" * 60) + "/" + "a" * 200 + ".jsonl", "train.csv"]
    assert files_wanted(names, Dataset(id="me/set"), card) == ["train.csv"]


MISSING: dict[str, tuple[list[str], dict[str, Any], str | None, str]] = {
    "a split": (
        ["train.csv", "dev.csv"],
        {"split": "test"},
        None,
        "has no split 'test'; it has dev, train, val",
    ),
    "an evaluation split": (["train.csv"], {"eval_split": "test"}, None, "has no split 'test'; it has train"),
    "a part of a split": (["train.csv"], {"split": "train[:10%]"}, None, "dataset.limit"),
    "a configuration": (["fr/train.csv", "en/train.csv"], {"config": "de"}, None, "it has en, fr"),
    "which configuration": (["fr/train.csv", "en/train.csv"], {}, None, "several configurations: en, fr"),
    "a configuration of the card": (CARD_NAMES, {"config": "x"}, CARD, "no configuration 'x'; it has quotes, books"),
    "a split of the card": (CARD_NAMES, {"split": "test"}, CARD, "no split 'test'; it has held, train"),
    "data": (["a.png", "b.bin"], {}, None, "no data file among its 2 files (a.png, b.bin)"),
    "anything": ([], {}, None, "there are no files"),
    "data beside a script": (["set.py"], {}, None, "refs/convert/parquet"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_missing_is_named_with_what_there_is(name: str) -> None:
    names, options, card, reason = MISSING[name]
    with pytest.raises(JobError) as caught:
        files_wanted(names, Dataset(id="me/set", **options), card)
    assert caught.value.code == 66
    assert reason in str(caught.value)
