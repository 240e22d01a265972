"""What several tests of the training share: rows of each kind."""

from pathlib import Path

import pytest

from tests.job.train.trainers import write_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file to train on and one to hold out, of each kind."""
    folder = tmp_path_factory.mktemp("data")
    words = ["time", "life", "love", "truth", "hope", "work", "art", "mind", "soul", "sea"]
    text = [{"text": f"Of {a} and {words[n % 7]}, {a} is the greater, said {n}."} for n, a in enumerate(words * 2)]
    pairs = [{"prompt": f"What is {word}? ", "completion": f"{word} is {word}."} for word in words * 2]
    chats = [
        {"messages": [{"role": "user", "content": f"{w}?"}, {"role": "assistant", "content": f"Yes, {w}."}]}
        for w in words * 2
    ]
    for kind, found in (("text", text), ("prompt_completion", pairs), ("messages", chats)):
        write_rows(folder / f"{kind}.jsonl", found[:16])
        write_rows(folder / f"{kind}-eval.jsonl", found[16:])
    return folder
