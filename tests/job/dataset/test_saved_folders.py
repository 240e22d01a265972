"""Folders that `datasets` saved with save_to_disk, written by the library itself."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from job.dataset import files_wanted, prepare
from job.errors import DataInvalid, NotFound
from job.spec.sections import Dataset


def rows(count: int, word: str = "Row") -> list[dict[str, Any]]:
    chat = [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": "x"}]
    return [{"id": n, "messages": [*chat[:1], {**chat[1], "content": f"{word} {n}."}]} for n in range(count)]


def saved(folder: Path, splits: dict[str, int] | None = None, **options: Any) -> Path:
    import datasets

    parts = {name: datasets.Dataset.from_list(rows(count, name)) for name, count in (splits or {"one": 30}).items()}
    made = datasets.DatasetDict(parts) if splits else parts["one"]
    made.save_to_disk(folder, **options)
    return folder


def answers(folder: Path, tmp_path: Path, **options: Any) -> tuple[list[str], list[str]]:
    """The answers to train on, and those that are held out."""
    given = {"eval_fraction": 0} | options
    prepared = prepare([(Dataset(id=str(folder), **given), folder)], seed=1, system=None, out=tmp_path / "out")
    return tuple(  # type: ignore[return-value]
        [json.loads(line)["messages"][-1]["content"] for line in path.read_text().splitlines()] if path else []
        for path in (prepared.train, prepared.eval)
    )


def test_a_data_set_is_read_in_its_order(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", num_shards=3)
    assert answers(folder, tmp_path)[0] == [f"one {n}." for n in range(30)]


def test_splits_are_folders_of_any_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", {"ours": 5, "theirs": 7, "train": 3, "test_sft": 2})
    assert answers(folder, tmp_path)[0] == [f"train {n}." for n in range(3)]
    trained, held_out = answers(folder, tmp_path, split="ours", eval_split="test")
    assert trained == [f"ours {n}." for n in range(5)]
    assert held_out == [f"test_sft {n}." for n in range(2)]


def test_splits_without_one_to_train_on_are_never_mixed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", {"ours": 5, "theirs": 7})
    with pytest.raises(NotFound, match="has no split 'train'; it has ours, theirs"):
        answers(folder, tmp_path)


def test_what_map_keeps_beside_the_rows_is_not_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set")
    shutil.copyfile(folder / "data-00000-of-00001.arrow", folder / "cache-1f2e3d4c5b6a7988.arrow")
    assert len(answers(folder, tmp_path)[0]) == 30


def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", num_shards=3)
    (folder / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(DataInvalid, match=r"is not whole: data-00001-of-00003\.arrow is missing, of 3 Arrow files"):
        answers(folder, tmp_path)


def test_rows_that_an_index_chooses_are_refused_and_told_how_to_save(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(DataInvalid, match="an index of an old release") as refusal:
        answers(folder, tmp_path)
    assert "flatten_indices().save_to_disk" in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"_data_files": [1]}', b"[" * 100_000])
def test_a_state_that_says_nothing_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = saved(tmp_path / "set")
    (folder / "state.json").write_bytes(content)
    with pytest.raises(DataInvalid, match=r"state\.json cannot be read"):
        answers(folder, tmp_path)


def test_from_a_store_the_files_come_that_say_what_belongs_together(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set", {"ours": 5, "theirs": 7})
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    wanted = files_wanted(names, Dataset(id="./set", split="ours"))
    assert {"ours/data-00000-of-00001.arrow", "ours/state.json", "dataset_dict.json"} <= set(wanted)
    assert "theirs/data-00000-of-00001.arrow" not in wanted
    for name in set(names) - set(wanted):
        (folder / name).unlink()
    assert len(answers(folder, tmp_path, split="ours")[0]) == 5


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_feather_is_read(compression: str, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import feather

    path = tmp_path / "rows.feather"
    feather.write_feather(pa.Table.from_pylist(rows(300)), path, compression=compression)
    assert len(answers(path, tmp_path)[0]) == 300


def test_an_arrow_file_is_damaged_or_gives_rows_whatever_byte_is_wrong(tmp_path: Path) -> None:
    folder = saved(tmp_path / "set")
    path = folder / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            assert len(answers(folder, tmp_path, max_broken=0.99)[0]) <= 30
        except DataInvalid as error:
            assert error.code == 65
