"""Where no card says otherwise, a split has the files that the `datasets` library finds for it.

Left out on purpose: a name that tells two splits is in both there and in neither here, and names in capitals, which
are of no split there.
"""

import re
import tempfile
from pathlib import Path

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from job.dataset import files_wanted
from job.errors import NotFound
from job.spec.sections import Dataset

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
OTHER_WORDS = ("data", "quotes", "part", "my", "en", "trained", "latest", "x2")
NUMBERS = ("", "", "-00000-of-00002", "-00001-of-00002", "_1", "2", "-0001")

words = st.sampled_from([*sum(SPLITS.values(), ()), *OTHER_WORDS])
stems = st.builds(
    lambda sign, parts: sign.join(parts), st.sampled_from("-_. "), st.lists(words, min_size=1, max_size=2)
)
names = st.builds(
    lambda folders, stem, number: "/".join([*folders, f"{stem}{number}.jsonl"]),
    st.lists(stems, max_size=2),
    stems,
    st.sampled_from(NUMBERS),
)


def found_by_datasets(listing: list[str]) -> dict[str, set[str]]:
    from datasets.data_files import get_data_patterns, resolve_pattern

    with tempfile.TemporaryDirectory() as folder:
        for name in listing:
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).touch()
        found: dict[str, set[str]] = {}
        for split, patterns in get_data_patterns(folder).items():
            for pattern in patterns:
                try:
                    files = resolve_pattern(pattern, folder)
                except FileNotFoundError:
                    continue
                found.setdefault(str(split), set()).update(Path(file).relative_to(folder).as_posix() for file in files)
        return found


def tells_one_split_at_most(name: str) -> bool:
    *folders, last = name.split("/")
    return all(len(told("/".join(parts))) < 2 for parts in (folders, [last]))


def told(text: str) -> set[str]:
    return {split for split, known in SPLITS.items() for word in re.split(r"[-._ 0-9/]+", text) if word in known}


@given(st.lists(names, min_size=1, max_size=4, unique=True))
@example(["train/part-00000-of-00002.jsonl", "train/part-00001-of-00002.jsonl"])
@example(["part-00000-of-00002.jsonl", "part-00001-of-00002.jsonl"])
@example(["train_data/a.jsonl", "test_data/b.jsonl"])
@example(["eval/train.jsonl", "a.jsonl"])
@example(["data/sft-00000-of-00001.jsonl", "data/gen-00000-of-00001.jsonl"])
@example(["data/train-00000-of-00001.jsonl", "train.jsonl", "train/x.jsonl"])
@settings(max_examples=150)
def test_each_split_that_datasets_finds_has_the_same_files_here(listing: list[str]) -> None:
    assume(all(map(tells_one_split_at_most, listing)))
    assume(not any(file.startswith(f"{other}/") for file in listing for other in listing))
    try:
        theirs = found_by_datasets(listing)
    except ValueError:  # a split's name that `datasets` does not take
        return
    for split, files in theirs.items():
        try:
            ours = set(files_wanted(listing, Dataset(id="me/set", split=split)))
        except NotFound as error:
            assert "has several configurations" in error.message
        else:
            assert (split, ours) == (split, files)
