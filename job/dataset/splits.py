"""Finds the files of a data set that hold the wanted configuration and split.

The card's `configs:` decide, if there are any. Else the names do, by the conventions of the Hub
(https://huggingface.co/docs/hub/datasets-file-names-and-splits):

    data/train-00000-of-00002.parquet    <split>-<n>-of-<n>
    <config>/<split>/0000.parquet        folders
    train.jsonl   my-train.csv           a split's name as a word of the file's name
    anything.jsonl                       files whose names contain no split are the train split

If one split comes in several formats, the first of parquet, jsonl, json, csv, txt is used.
"""

import re
from pathlib import Path

from job.artifacts import stays
from job.dataset.card import card_configs, chosen_config, data_dir, split_files
from job.dataset.rows import listed
from job.dataset.saved import check_whole, companions, is_row_file, saved_splits
from job.errors import DataInvalid, IntegrityViolated, NotFound
from job.logs import log
from job.spec.places import FORMATS, shown_place, suffix_format
from job.spec.sections import Dataset

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words}
_SHARD = re.compile(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?")
_NUMBERED = re.compile(r"(.+?)[-_.]?\d+(?:[-_.]of[-_.]\d+)?")
_NO_DATA = re.compile(
    r"(dataset_infos?|dataset_dict|state|config|metadata|tokenizer.*|special_tokens_map|package(-lock)?)\.json"
    r"|(license|licence|readme|requirements.*|citation|notice|changelog|robots)\.txt"
)


def files_wanted(names: list[str], dataset: Dataset, readme: str | None = None) -> list[str]:
    """The files of the split to train on and of the split to evaluate on, if one is named, and what belongs to them.

    `names` are relative to the repository, prefix or folder, with `/`. `readme` is the text of its README.md.
    Raises NotFound with the configurations or splits that exist.
    """
    files = split_names(names, dataset, dataset.split, readme)
    if dataset.eval_split is not None:
        files += split_names(names, dataset, dataset.eval_split, readme)
    beside = companions(names) if any(name.endswith(".arrow") for name in files) else []
    return list(dict.fromkeys([*files, *beside]))


def split_names(names: list[str], dataset: Dataset, split: str, readme: str | None = None) -> list[str]:
    """The files of one split, sorted. Raises NotFound."""
    name = shown_place(dataset.id)
    data = sorted(filter(_is_data, names), key=_in_order)
    configs = card_configs(readme)
    by_split: dict[str, list[str]] = {}
    config: str | None = dataset.config
    if configs:
        chosen = chosen_config(configs, dataset.config, name)
        by_split = {found: files for found, files in split_files(chosen, data).items() if files}
        if folder := data_dir(chosen):
            data, config = [file for file in data if file.startswith(f"{folder}/")], None
    if not by_split:
        if not data:
            raise NotFound(f"{name}: {_why_no_data(names)}", hint=_what_is_data(names))
        data = _of_config(data, config, name)
        by_split = _named_as_usual(saved_splits(data, names)) or _by_name(data)
    for known in (split, _SPLIT_OF.get(split, split)):
        if known in by_split:
            return _best(by_split[known])
    option = "dataset.split" if split == dataset.split else "dataset.eval_split"
    slicing = " To take a part of a split, use dataset.limit." if "[" in split else ""
    raise NotFound(
        f"{name} has no split {split!r}; it has {listed(sorted(by_split))}",
        hint=f"Set {option} to one of them.{slicing}",
    )


def local_files(dataset: Dataset, path: Path, split: str) -> list[Path]:
    """The files of one split in a folder, or the file itself, which has no splits. Raises NotFound, DataInvalid,
    IntegrityViolated."""
    if path.is_file():
        if split == dataset.eval_split and split != dataset.split:
            raise DataInvalid(
                f"dataset.eval_split: {path.name} is one file, which has no splits",
                hint="Use dataset.eval_fraction, or give a folder with a file for each split.",
            )
        return [path]
    if not path.is_dir():
        raise NotFound(f"the data set {path} does not exist", hint="Set dataset.id to a file or folder that exists.")
    names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
    card = path / "README.md"
    readme = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else None
    chosen = split_names(names, dataset, split, readme)
    check_whole(path, chosen)
    for name in chosen:
        if not stays(path / name, path):
            raise IntegrityViolated(f"the data set {path}: {name} is a link that leaves the folder")
    log.info("data.files", split=split, files=chosen[:10], count=len(chosen))
    return [path / name for name in chosen]


def _is_data(name: str) -> bool:
    parts = name.split("/")
    hidden = any(part.startswith((".", "__")) for part in parts)
    if hidden or suffix_format(name) is None or not is_row_file(name):
        return False
    return not _NO_DATA.fullmatch(parts[-1].lower())


def _in_order(name: str) -> list[tuple[int, str]]:
    """A sort key that puts part-2 before part-10."""
    return [(int(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name)]


def _why_no_data(names: list[str]) -> str:
    return (
        f"there is no data file among its {len(names)} files ({listed(sorted(names), 10)})"
        if names
        else "there are no files"
    )


def _what_is_data(names: list[str]) -> str:
    formats = f"Data files end in {', '.join('.' + suffix for suffix in FORMATS)}, each also with .gz."
    if any(name.endswith(".py") for name in names):
        return f"{formats} A loading script is never run; try dataset.revision: refs/convert/parquet."
    return formats


def _of_config(names: list[str], config: str | None, shown_as: str) -> list[str]:
    """The files of one configuration: those in a folder of its name."""
    folders = sorted({part for name in names for part in name.split("/")[:-1]} - {"data", *_SPLIT_OF})
    if config is not None:
        held = [name for name in names if config in name.split("/")[:-1]]
        if held:
            return held
        by_name = [name for name in names if name.rsplit("/", 1)[-1].split(".")[0] == config]
        if by_name:
            return by_name
        known = f"it has {listed(folders)}" if folders else "it has none"
        raise NotFound(
            f"{shown_as} has no configuration {config!r}; {known}", hint="Set dataset.config to one of them."
        )
    if "default" in folders:
        return [name for name in names if "default" in name.split("/")[:-1]]
    tops = {name.split("/")[0] if "/" in name else "" for name in names} - {"data"}
    tops = {folder for folder in tops if not _usual(folder)}
    if len(tops) > 1 and "" not in tops and all(_split_of(name) for name in names):
        raise NotFound(
            f"{shown_as} has several configurations: {listed(sorted(tops))}",
            hint="Set dataset.config to one of them.",
        )
    return names


def _by_name(names: list[str]) -> dict[str, list[str]]:
    """Split -> files, under the name that a file or folder gives its split and under the usual one.

    Shards in data/ come before folders that are called like a split, and those before files that are: the later ones
    add nothing to a split that an earlier one names, as in `datasets` (datasets/data_files.py, ALL_DEFAULT_PATTERNS).
    """
    shards = [name for name in names if _is_shard(name)]
    in_folders = [name for name in names if not _is_shard(name) and _split_of_folder(name)]
    others = [name for name in names if not _is_shard(name) and not _split_of_folder(name)]
    found = _grouped(others) | _grouped(in_folders) | _grouped(shards)
    nameless = [name for name in others if _split_of_file(name) is None]
    if nameless and "train" not in found:
        found["train"] = nameless
    return found


def _named_as_usual(by_split: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same splits, each under its usual name too, if no other has it."""
    usual = {split: _usual(split) for split in by_split}
    names = list(usual.values())
    return {name: by_split[split] for split, name in usual.items() if name and names.count(name) == 1} | by_split


def _grouped(names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        exact = _split_of(name)
        for split in {exact, _usual(exact)} - {None}:
            found.setdefault(str(split), []).append(name)
    return found


def _is_shard(name: str) -> bool:
    """data/<split>-<n>-of-<n>, which may be a split of any name."""
    *folders, last = name.split("/")
    return folders == ["data"] and _SHARD.fullmatch(_stem(last)) is not None


def _split_of(name: str) -> str | None:
    folder = None if _is_shard(name) else _split_of_folder(name)
    return folder or _split_of_file(name)


def _split_of_folder(name: str) -> str | None:
    """The innermost folder that is called like a split."""
    return next((folder for folder in reversed(name.split("/")[:-1]) if _usual(folder)), None)


def _split_of_file(name: str) -> str | None:
    """The split that a file's name tells: a usual one or, of a shard in data/, any."""
    stem = _stem(name.split("/")[-1])
    if shard := _SHARD.fullmatch(stem):
        return shard[1] if _is_shard(name) or _usual(shard[1]) else None
    if (numbered := _NUMBERED.fullmatch(stem)) and _usual(numbered[1]):
        stem = numbered[1]
    return stem if _usual(stem) else None


def _stem(last: str) -> str:
    """A file's name without what tells its format."""
    return re.sub(r"\.[A-Za-z]+(\.gz)?$", "", last)


def _usual(split: str | None) -> str | None:
    """train, validation or test, if exactly one of them is a word of the name."""
    words = {_SPLIT_OF[word] for word in re.split(r"[-_. 0-9]+", (split or "").lower()) if word in _SPLIT_OF}
    return words.pop() if len(words) == 1 else None


def _best(names: list[str]) -> list[str]:
    """Among the files of one split, those of the most preferred format."""
    order = list(dict.fromkeys(FORMATS.values()))
    best = min((suffix_format(name) or "" for name in names), key=order.index)
    left_out = [name for name in names if suffix_format(name) != best]
    if left_out:
        log.info("data.files_left_out", why=f"the split comes as {best} too", files=left_out[:10], count=len(left_out))
    return [name for name in names if suffix_format(name) == best]
