"""Splits, weights, limits and mixes: exact where they promise it, and the same for the same seed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from job.dataset import Prepared, Wanted, prepare
from job.errors import JobError
from job.spec.sections import Dataset


def write_rows(path: Path, count: int, prefix: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": f"{prefix}{n}"}) + "\n" for n in range(count)))
    return path


def texts(path: Path | None) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path else []


def make(out: Path, *files: Path, seed: int = 1, options: list[dict[str, Any]] | None = None) -> Prepared:
    options = options or [{} for _ in files]
    sets = [(Dataset(id=str(file), **given), file) for file, given in zip(files, options, strict=True)]
    return prepare(sets, seed=seed, system=None, out=out)


def test_each_row_is_trained_on_or_held_out_and_the_order_is_kept(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 1000)
    prepared = make(tmp_path / "out", file, options=[{"eval_fraction": 0.1}])
    train, held_out = texts(prepared.train), texts(prepared.eval)
    assert sorted(train + held_out, key=int) == [str(n) for n in range(1000)]
    assert train == sorted(train, key=int) and held_out == sorted(held_out, key=int)
    assert 70 <= len(held_out) <= 130
    assert (prepared.rows, prepared.eval_rows) == (len(train), len(held_out))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    files = [write_rows(tmp_path / "a.jsonl", 300, "a"), write_rows(tmp_path / "b.jsonl", 200, "b")]
    weights: list[dict[str, Any]] = [{"weight": 1.5, "eval_fraction": 0.1}, {"weight": 0.3}]
    first = make(tmp_path / "1", *files, options=weights)
    again = make(tmp_path / "2", *files, options=weights)
    other = make(tmp_path / "3", *files, options=weights, seed=2)
    assert first.eval and again.eval and other.eval
    assert first.train.read_bytes() == again.train.read_bytes() and first.eval.read_bytes() == again.eval.read_bytes()
    assert first.digest == again.digest != other.digest
    assert first.eval.read_bytes() != other.eval.read_bytes()


def test_rows_that_are_added_do_not_move_others_between_the_parts(tmp_path: Path) -> None:
    before = make(tmp_path / "1", write_rows(tmp_path / "a.jsonl", 500), options=[{"eval_fraction": 0.1}])
    after = make(tmp_path / "2", write_rows(tmp_path / "a.jsonl", 900), options=[{"eval_fraction": 0.1}])
    assert [text for text in texts(after.eval) if int(text) < 500] == texts(before.eval)


def test_a_row_that_is_mended_moves_no_other(tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{"eval_fraction": 0.2, "max_broken": 0.5}]
    file = write_rows(tmp_path / "a.jsonl", 200)
    whole = make(tmp_path / "1", file, options=options)
    file.write_text(file.read_text().replace('{"text": "50"}', '{"text":'))
    broken = make(tmp_path / "2", file, options=options)
    assert broken.broken == 1
    assert texts(broken.eval) == [text for text in texts(whole.eval) if text != "50"]


@pytest.mark.parametrize("rows", [2, 3, 10])
@pytest.mark.parametrize("fraction", [0.0001, 0.5, 0.9999])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_small_set_keeps_a_row_on_each_side(tmp_path: Path, rows: int, fraction: float, seed: int) -> None:
    file = write_rows(tmp_path / "a.jsonl", rows)
    prepared = make(tmp_path / "out", file, seed=seed, options=[{"eval_fraction": fraction}])
    assert prepared.rows >= 1 and prepared.eval_rows >= 1 and prepared.rows + prepared.eval_rows == rows


def test_without_a_fraction_or_with_one_row_nothing_is_held_out(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 10)
    assert make(tmp_path / "out", file).eval_rows == 1
    prepared = make(tmp_path / "out", file, options=[{"eval_fraction": 0}])
    assert (prepared.eval, prepared.rows) == (None, 10)
    prepared = make(tmp_path / "out", write_rows(tmp_path / "one.jsonl", 1))
    assert (prepared.eval, prepared.rows) == (None, 1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.jsonl"]


def of_bytes(path: Path, rows: int, size: int) -> Path:
    """Rows of about `size` bytes."""
    path.write_text("".join(json.dumps({"text": f"{n} ".ljust(size, "x")}) + "\n" for n in range(rows)))
    return path


@pytest.mark.parametrize(
    ("rows", "size", "wanted", "share"),
    [
        (160, 300, Wanted(17_500), 0.1),  # 8,000 tokens in all
        (2000, 600, Wanted(17_500), 0.09),  # 100 tokens a row
        (20_000, 600, Wanted(17_500), 0.01),
        (20_000, 600, Wanted(164), 0.0001),
        (2000, 6000, Wanted(17_500, longest=100), 0.09),  # what is cut is not counted
    ],
)
def test_auto_holds_out_what_a_judgement_takes_and_never_more_than_a_tenth(
    tmp_path: Path, rows: int, size: int, wanted: Wanted, share: float
) -> None:
    file = of_bytes(tmp_path / "a.jsonl", rows, size)
    with capture_logs() as logged:
        prepared = prepare([(Dataset(id=str(file)), file)], seed=1, system=None, out=tmp_path / "out", wanted=wanted)
    (told,) = [one for one in logged if one["event"] == "data.held_out"]
    assert told["share"] == pytest.approx(share)
    assert (told["rows"], told["of"]) == (prepared.eval_rows, rows)
    expected = share * rows
    assert abs(prepared.eval_rows - expected) <= 4 * expected**0.5 + 1


def test_what_auto_holds_out_of_more_rows_is_some_of_what_it_holds_out_of_fewer(tmp_path: Path) -> None:
    held_out = []
    for rows in (500, 505, 5000):
        prepared = make(tmp_path / str(rows), of_bytes(tmp_path / f"{rows}.jsonl", rows, 600))
        held_out.append({int(text.split()[0]) for text in texts(prepared.eval)})
    assert {n for n in held_out[1] if n < 500} == held_out[0], "a few rows more move none"
    assert {n for n in held_out[2] if n < 500} < held_out[0]


def test_auto_is_one_share_for_all_sets_that_have_it(tmp_path: Path) -> None:
    files = [of_bytes(tmp_path / "a.jsonl", 2000, 600), of_bytes(tmp_path / "b.jsonl", 2000, 600)]
    with capture_logs() as logged:
        sets = [(Dataset(id=str(file)), file) for file in files]
        prepared = prepare(sets, seed=1, system=None, out=tmp_path / "out", wanted=Wanted(17_500))
        fixed = make(tmp_path / "fixed", *files, options=[{"eval_fraction": 0.5}, {"eval_fraction": 0}])
    (told,) = [one for one in logged if one["event"] == "data.held_out"]
    assert told["share"] == pytest.approx(0.05) and told["rows"] == prepared.eval_rows
    assert 900 < fixed.eval_rows < 1100


@pytest.mark.parametrize(
    ("weight", "counts"),
    [(2, {2: 100}), (0.5, {1: 50}), (1.25, {1: 75, 2: 25}), (0.001, {1: 1}), (3, {3: 100})],
)
def test_a_weight_is_how_often_each_row_is_taken(tmp_path: Path, weight: float, counts: dict[int, int]) -> None:
    file = write_rows(tmp_path / "a.jsonl", 100)
    prepared = make(tmp_path / "out", file, options=[{"weight": weight, "eval_fraction": 0}])
    assert Counter(Counter(texts(prepared.train)).values()) == counts


def test_held_out_rows_are_never_trained_on_whatever_their_weight(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 200)
    prepared = make(tmp_path / "out", file, options=[{"weight": 2.5, "eval_fraction": 0.2}])
    assert len(set(texts(prepared.eval))) == prepared.eval_rows
    assert not set(texts(prepared.eval)) & set(texts(prepared.train))


def test_a_mix_is_shuffled_and_holds_every_row_of_every_set(tmp_path: Path) -> None:
    files = [write_rows(tmp_path / f"{name}.jsonl", 100, name) for name in "ab"]
    prepared = make(tmp_path / "out", *files, options=[{"eval_fraction": 0}, {"eval_fraction": 0.1}])
    train = texts(prepared.train)
    assert sorted(train + texts(prepared.eval)) == sorted(f"{name}{n}" for name in "ab" for n in range(100))
    assert 20 < sum(text.startswith("a") for text in train[:80]) < 60


def test_pairs_become_conversations_in_a_mix_with_conversations(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "p", "completion": "c"}')
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    (tmp_path / "b.jsonl").write_text(json.dumps({"messages": chat}))
    sets = [(Dataset(id=f"./{name}"), tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    prepared = prepare(sets, seed=1, system="S", out=tmp_path / "out")
    rows = [json.loads(line)["messages"] for line in prepared.train.read_text().splitlines()]
    assert prepared.kind == "messages"
    assert sorted([turn["content"] for turn in row] for row in rows) == [["S", "p", "c"], ["S", "u", "a"]]


def test_a_limit_takes_the_first_good_rows_and_reads_no_further(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 50)
    file.write_text('{"text": 5}\n' + file.read_text() + "broken\n" * 50)
    prepared = make(tmp_path / "out", file, options=[{"limit": 20, "eval_fraction": 0, "max_broken": 0.05}])
    assert texts(prepared.train) == [str(n) for n in range(20)]
    assert prepared.broken == 1


def test_a_named_split_is_evaluated_on_instead_of_a_fraction(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/data/train-00000-of-00002.jsonl", 30)
    write_rows(tmp_path / "set/data/train-00001-of-00002.jsonl", 5, "more")
    write_rows(tmp_path / "set/data/validation-00000-of-00001.jsonl", 7, "v")
    write_rows(tmp_path / "set/data/test-00000-of-00001.jsonl", 9, "t")
    prepared = make(tmp_path / "out", tmp_path / "set", options=[{"eval_split": "validation"}])
    assert texts(prepared.train) == [*(str(n) for n in range(30)), *(f"more{n}" for n in range(5))]
    assert texts(prepared.eval) == [f"v{n}" for n in range(7)]


def test_a_broken_evaluation_split_ends_the_run(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/train.jsonl", 30)
    (tmp_path / "set/test.jsonl").write_text("no\n")
    with pytest.raises(JobError, match=r"1 of 1 rows are broken .*test.jsonl, line 1") as caught:
        make(tmp_path / "out", tmp_path / "set", options=[{"eval_split": "test"}])
    assert caught.value.code == 65


def test_the_card_of_a_folder_says_where_its_configurations_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "set/x/one.jsonl", 3, "one")
    write_rows(tmp_path / "set/x/two.jsonl", 3, "two")
    card = "---\nconfigs:\n- config_name: a\n  data_files: x/one.jsonl\n- config_name: b\n  data_files: x/two.*\n---\n"
    (tmp_path / "set/README.md").write_text(card)
    prepared = make(tmp_path / "out", tmp_path / "set", options=[{"config": "b", "eval_fraction": 0}])
    assert texts(prepared.train) == ["two0", "two1", "two2"]


def test_a_second_call_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 10)
    make(tmp_path / "out", file)
    prepared = make(tmp_path / "out", file, options=[{"eval_fraction": 0, "limit": 3}])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.jsonl"}
    assert prepared.rows == 3


def test_a_folder_that_cannot_be_written_is_a_storage_fault(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", 10)
    with pytest.raises(JobError, match="cannot write to") as caught:
        make(file / "out", file)
    assert caught.value.code == 74
